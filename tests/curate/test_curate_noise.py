"""Wrong labels: how many are found, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dripstone.curate import noise
from dripstone.curate.noise import wrong_label_probabilities
from dripstone.models.head import Head, Identity
from dripstone.train.out_of_fold import out_of_fold_scores


def clusters(rows: int, classes: int, seed: int, spread: float = 0.4) -> tuple[torch.Tensor, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = draw.normal(0, 1, (classes, 24))
    targets = np.arange(rows) % classes
    return torch.from_numpy(centres[targets] + draw.normal(0, spread, (rows, 24))).float(), targets


def made_wrong(targets: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    wrong = draw.random(len(targets)) < share
    classes = targets.max() + 1
    labels = np.where(wrong, (targets + draw.integers(1, classes, len(targets))) % classes, targets)
    return labels, wrong


def probabilities(features: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    head, classes = Head(Identity(features.shape[1])), int(labels.max()) + 1
    scores = out_of_fold_scores(head, features, torch.from_numpy(labels), torch.empty(len(labels), 0), classes)
    return wrong_label_probabilities([one.numpy() for one in scores], labels)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "found", "right"), [(0.1, 0.9, 0.9), (0.2, 0.9, 0.9), (0.4, 0.85, 0.9)])
def test_wrong_labels_are_found_among_clusters(seed, share, found, right):
    features, targets = clusters(600, 10, seed)
    labels, wrong = made_wrong(targets, share, seed)
    held = probabilities(features, labels) > 0.5
    assert (held & wrong).sum() >= found * wrong.sum()
    assert (held & wrong).sum() >= right * held.sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.4, 1.5])
def test_honest_rows_pass_also_where_classes_overlap(seed, spread):
    features, targets = clusters(600, 10, seed, spread)
    assert (probabilities(features, targets) > 0.5).mean() < 0.01


@pytest.mark.parametrize(("share", "most"), [(0.0, 0.01), (0.2, 1.0), (0.4, 1.0)])
def test_digits(share, most):
    from sklearn.datasets import load_digits

    pictures, targets = load_digits(return_X_y=True)
    labels, wrong = made_wrong(targets, share, 0)
    held = probabilities(torch.from_numpy(pictures / 16).float(), labels) > 0.5
    assert held.mean() <= most
    if share:
        assert (held & wrong).sum() >= 0.85 * wrong.sum()
        assert (held & wrong).sum() >= 0.85 * held.sum()


def test_rare_labels_are_not_held_to_be_wrong_for_being_rare():
    features, targets = clusters(600, 6, 0)
    rare = (targets == 5) & (np.arange(600) > 60)
    features, targets = features[torch.from_numpy(~rare)], targets[~rare]
    labels, wrong = made_wrong(targets, 0.2, 0)
    held = probabilities(features, labels) > 0.5
    assert not (held & ~wrong & (targets == 5)).any()


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_probabilities_are_as_large_as_wrong_labels_are_many(classes, share):
    features, targets = clusters(600, classes, 0)
    chance = np.random.default_rng(0).random(600) < share
    labels = np.where(chance, np.random.default_rng(1).permutation(targets), targets)
    assert probabilities(features, labels).mean() == pytest.approx((labels != targets).mean(), abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_a_common_label_that_the_model_believes_is_not_wrong_for_being_common(seed):
    draw = np.random.default_rng(seed)
    targets = (draw.random(2000) < 0.1).astype(np.int64)
    labels = np.where(draw.random(2000) < 0.6, draw.permutation(targets), targets)
    found = wrong_label_probabilities([np.eye(2)[targets]], labels)
    assert (found[labels == targets] < 0.05).all()
    assert (found[labels != targets] > 0.5).all()


def test_a_score_of_one_among_zeros_is_certain_and_chance_may_be_right(monkeypatch):
    monkeypatch.setattr(noise, "SCALES", [1.0])
    monkeypatch.setattr(noise, "SHARES", np.array([0.2]))
    targets = np.arange(100) % 10
    labels = (targets + (np.arange(100) < 20)) % 10
    right = labels == targets
    believed, common = np.where(right, 0.99, 0.01 / 9), np.bincount(labels)[labels] / 100
    expected = 0.2 * common * (1 - believed) / (0.8 * believed + 0.2 * common)
    assert wrong_label_probabilities([np.eye(10)[targets]], labels) == pytest.approx(expected)


def test_no_share_of_wrong_labels_leaves_every_row_without_doubt():
    targets = np.arange(100) % 4
    assert not wrong_label_probabilities([np.eye(4)[targets]], targets).any()


def test_the_model_under_which_labels_are_likeliest_counts_wherever_it_stands():
    targets = np.arange(200) % 4
    labels = targets.copy()
    labels[:20] = (labels[:20] + 1) % 4
    good, bad = np.eye(4)[targets], np.random.default_rng(0).random((200, 4))
    alone = wrong_label_probabilities([good], labels)
    for scores in ([good, bad], [bad, good], (one for one in (bad, good, bad))):
        assert (wrong_label_probabilities(scores, labels) == alone).all()


def test_scores_of_gigantic_size_overflow_nothing():
    targets = np.arange(100) % 4
    found = wrong_label_probabilities([1e300 * np.eye(4)[targets]], (targets + (np.arange(100) < 10)) % 4)
    assert (np.flatnonzero(found > 0.5) == np.arange(10)).all()


def test_probabilities_are_probabilities():
    features, targets = clusters(200, 5, 0)
    found = probabilities(features, made_wrong(targets, 0.3, 0)[0])
    assert found.shape == (200,)
    assert ((found >= 0) & (found <= 1)).all()


def test_classes_that_no_row_has_do_no_harm():
    targets = np.arange(100) % 2
    labels = targets.copy()
    labels[:10] = 1 - labels[:10]
    scores = np.hstack([np.eye(2)[targets], np.zeros((100, 5))])
    assert (np.flatnonzero(wrong_label_probabilities([scores], labels) > 0.5) == np.arange(10)).all()


@pytest.mark.parametrize("targets", [np.zeros(100, dtype=np.int64), np.arange(19) % 2, np.empty(0, dtype=np.int64)])
def test_one_class_or_a_few_rows_say_nothing(targets):
    scores = np.random.default_rng(0).random((len(targets), 2))
    assert not wrong_label_probabilities([scores], targets).any()


@pytest.mark.parametrize("seed", range(3))
def test_scores_that_know_nothing_accuse_nobody(seed):
    draw = np.random.default_rng(seed)
    scores, targets = draw.normal(0, 1, (300, 4)), draw.integers(0, 4, 300)
    assert (wrong_label_probabilities([scores], targets) > 0.5).mean() < 0.02
