"""Out-of-fold scores are those of the regression of all other rows."""

from __future__ import annotations

import pytest
import torch

from dripstone.models.head import Head, Identity, RandomFourierFeatures
from dripstone.train import out_of_fold
from dripstone.train.out_of_fold import PENALTIES, out_of_fold_scores


def really_left_out(rows, one_hot, prior, penalty):
    found = []
    for place in range(len(rows)):
        others = torch.arange(len(rows)) != place
        x, y = rows[others], (one_hot - prior)[others]
        system = x.T @ x + penalty * torch.eye(x.shape[1], dtype=torch.float64)
        found.append(prior[place] + rows[place] @ torch.linalg.solve(system, x.T @ y))
    return torch.stack(found)


@pytest.mark.parametrize("known", [0, 2])
@pytest.mark.parametrize("columns", [3, 40])
def test_each_row_is_left_out_of_its_own_score(known, columns):
    draw = torch.Generator().manual_seed(0)
    features, targets = torch.randn(25, columns, generator=draw), torch.randint(0, 3, (25,), generator=draw)
    logits = 5 * torch.randn(25, known, generator=draw)
    one_hot = torch.nn.functional.one_hot(targets, 3).double()
    prior = torch.zeros(25, 3, dtype=torch.float64)
    if known:
        spread, wanted = logits.double() - logits.double().mean(), one_hot[:, :known]
        prior[:, :known] = (spread * wanted).sum() / spread.square().sum() * spread + wanted.mean()
    rows = torch.cat([features.double(), torch.ones(25, 1, dtype=torch.float64)], dim=1)
    unit = float(rows.square().sum()) / 25
    found = list(out_of_fold_scores(Head(Identity(columns)), features, targets, logits, 3))
    assert len(found) == len(PENALTIES)
    for penalty, scores in zip(PENALTIES, found, strict=True):
        torch.testing.assert_close(scores, really_left_out(rows, one_hot, prior, penalty * unit), atol=1e-6, rtol=1e-6)


def test_scores_of_any_scale_become_scores_between_labels():
    targets = torch.arange(60) % 3
    logits = 40 * torch.nn.functional.one_hot(targets, 3) + 7
    for scores in out_of_fold_scores(Head(Identity(2)), torch.zeros(60, 2), targets, logits, 3):
        torch.testing.assert_close(scores, torch.nn.functional.one_hot(targets, 3).double(), atol=0.1, rtol=0)


@pytest.mark.parametrize("known", [0, 3])
def test_no_rows_have_no_scores(known):
    nothing = torch.empty(0, dtype=torch.int64)
    for scores in out_of_fold_scores(Head(Identity(2)), torch.empty(0, 2), nothing, torch.empty(0, known), 3):
        assert scores.shape == (0, 3)


def test_an_honest_row_and_a_wrong_one_have_different_scores():
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(90) % 3
    features = torch.nn.functional.one_hot(targets, 3) + 0.1 * torch.randn(90, 3, generator=draw)
    labels = targets.clone()
    labels[0] = 1
    for logits in (torch.empty(90, 0), 3 * features):
        for scores in out_of_fold_scores(Head(Identity(3)), features, labels, logits, 3):
            assert int(scores[0].argmax()) == 0  # what it is, not what it is said to be
            assert scores[1:].argmax(dim=1).equal(targets[1:])


def test_its_own_label_moves_no_rows_score_where_the_champion_says_nothing():
    draw = torch.Generator().manual_seed(0)
    features, targets = torch.randn(30, 5, generator=draw), torch.randint(0, 3, (30,), generator=draw)
    other = targets.clone()
    other[7] = (targets[7] + 1) % 3
    for one, two in zip(
        *(
            out_of_fold_scores(Head(Identity(5)), features, labels, torch.empty(30, 0), 3)
            for labels in (targets, other)
        ),
        strict=True,
    ):
        torch.testing.assert_close(one[7], two[7], atol=1e-9, rtol=0)
        assert not torch.allclose(one[8], two[8], atol=1e-9, rtol=0)


def test_rows_that_are_all_the_same_score_as_their_labels_are_shared():
    targets = torch.tensor([0] * 8 + [1] * 4)
    *_, scores = (
        one for one in out_of_fold_scores(Head(Identity(2)), torch.ones(12, 2), targets, torch.empty(12, 0), 2)
    )
    assert torch.isfinite(scores).all()
    assert (scores[:, 0] > scores[:, 1]).all()


@pytest.mark.parametrize(("plain", "columns"), [(8, 512), (700, 700), (1500, 1024)])
def test_some_hundred_columns_are_looked_at_and_the_constant_one(plain, columns):
    head = Head(RandomFourierFeatures(plain, 2048, seed=0))
    features = torch.randn(4, plain, generator=torch.Generator().manual_seed(0))
    head.fit(features)
    found = out_of_fold._columns(head, features)
    assert found.shape == (4, columns + 1)
    assert (found[:, -1] == 1).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_or_two(rows):
    targets = torch.zeros(rows, dtype=torch.int64)
    for scores in out_of_fold_scores(Head(Identity(2)), torch.ones(rows, 2), targets, torch.empty(rows, 0), 1):
        assert torch.isfinite(scores).all()
