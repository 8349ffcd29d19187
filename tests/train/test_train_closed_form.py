"""The closed form fills the head: the batch's solution, calibrated as if each row had been left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from closed_form_samples import CLASSES, PENALTY, SIZES, at_once, collect, difference, plain_head, problem

from dripstone.core.errors import DivergedError
from dripstone.models import mlp
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of
from dripstone.train.statistics import add_rows, expand, no_rows


def left_out(rows, head) -> torch.Tensor:
    """Scores of every row by a solution without it."""
    features, targets, _ = rows
    scores = []
    for row in range(len(targets)):
        others = torch.arange(len(targets)) != row
        solution = torch.from_numpy(at_once(tuple(part[others] for part in rows), head))
        scores.append(expand(head, features[row : row + 1]) @ solution)
    return torch.cat(scores)


@pytest.mark.parametrize("size", SIZES)
def test_the_head_holds_the_batch_solution(size):
    rows = problem(40, size)
    head = plain_head(CLASSES, size)
    fit_head(head, collect(rows, head), PENALTY, *rows)
    found = torch.cat([head.weight.detach().T, head.bias.detach()[None]])
    assert difference(found, at_once(rows, head)) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_the_scale_is_the_best_for_rows_left_out_and_their_accuracy_comes_back(size):
    features, targets, weights = problem(60, size)
    targets[::7] = (targets[::7] + 1) % CLASSES
    rows = features, targets, weights
    head = plain_head(CLASSES, size)
    accuracy = fit_head(head, collect(rows, head), PENALTY, *rows)
    scores = left_out(rows, head)

    def loss(scale: float) -> float:
        losses = torch.nn.functional.cross_entropy(scale * scores, targets, reduction="none")
        return float(weights @ losses)

    assert head.scale.item() == pytest.approx(min(np.logspace(0, 2.5, 41), key=loss), rel=1e-5)
    right = (scores.argmax(dim=1) == targets)[weights > 0]
    assert accuracy == pytest.approx(float(right.double().mean()))
    assert 0.2 < accuracy < 1.0


def test_the_accuracy_is_of_the_rows_just_added():
    features, targets, weights = problem(40, 200)
    head = plain_head(CLASSES, 200)
    noise = targets[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    first = add_rows(no_rows(), head, features, targets, weights)
    latest = torch.roll(features, 1, dims=1), noise, weights
    assert fit_head(head, first, PENALTY, features, targets, weights) > 0.9
    assert fit_head(head, add_rows(first, head, *latest), PENALTY, *latest) < 0.6


@pytest.mark.parametrize(("rows", "weight"), [(0, 1.0), (20, 0.0)])
@pytest.mark.parametrize("earlier", [0, 20])
def test_without_rows_that_count_the_scale_stays_and_there_is_no_accuracy(rows, weight, earlier):
    features, targets, weights = problem(20)
    head = plain_head(CLASSES)
    head.scale.fill_(7.0)
    statistics = add_rows(no_rows(), head, features[:earlier], targets[:earlier], weights[:earlier])
    latest = features[:rows], targets[:rows], torch.full((rows,), weight)
    assert fit_head(head, add_rows(statistics, head, *latest), PENALTY, *latest) is None
    assert head.scale.item() == 7.0
    assert bool(head.weight.any()) == (earlier > 0)


@pytest.mark.parametrize("size", [6, 200])
def test_numbers_that_are_not_finite_leave_the_head_alone(size):
    features, targets, weights = problem(40, size)
    head = plain_head(CLASSES, size)
    features[3, 1] = math.nan
    with pytest.raises(DivergedError, match="finite"):
        fit_head(head, collect((features, targets, weights + 1), head), PENALTY, features, targets, weights + 1)
    assert not head.weight.any()
    assert head.scale.item() == 1.0


@pytest.mark.parametrize("labels", ["noise", "one class", "one row each"])
@pytest.mark.parametrize("size", [6, 200])
def test_the_scale_is_positive_and_finite_whatever_the_labels(size, labels):
    features, targets, _ = problem(60, size)
    targets = {
        "noise": targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))],
        "one class": torch.zeros_like(targets),
        "one row each": torch.arange(60),
    }[labels]
    head = plain_head(int(targets.max()) + 1, size)
    rows = features, targets, torch.ones(60)
    accuracy = fit_head(head, add_rows(no_rows(), head, *rows), PENALTY, *rows)
    assert 1.0 <= head.scale.item() <= 10**2.5
    assert {"one class": 1.0, "one row each": 0.0}.get(labels, accuracy) == accuracy


@pytest.mark.parametrize("rows", [60, 800])
def test_probabilities_of_digits_are_calibrated(rows):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    inputs = list(digits.data[order].astype("f4"))
    targets = torch.from_numpy(digits.target[order]).long()
    model = mlp(inputs=64, random_features=256)
    model.fit(inputs[:rows])
    features = features_of(model, inputs)
    head = model.head
    head.fit(features[:rows])
    head.grow(10)
    known = features[:rows], targets[:rows], torch.ones(rows)
    accuracy = fit_head(head, add_rows(no_rows(), head, *known), PENALTY, *known)
    with torch.no_grad():
        probabilities = head(features[900:]).softmax(dim=1)
    right = (probabilities.argmax(dim=1) == targets[900:]).float()
    assert abs(float(probabilities.amax(dim=1).mean() - right.mean())) < 0.06
    assert float(right.mean()) > (0.8 if rows == 60 else 0.95)
    assert accuracy == pytest.approx(float(right.mean()), abs=0.1)
