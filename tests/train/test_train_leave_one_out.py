"""Leave-one-out: the same as training without each row, from rows as from sums."""

from __future__ import annotations

import math

import pytest
import torch
from closed_form_samples import PENALTY, plain_head, problem

from dripstone.core.spacing import spaced
from dripstone.train.leave_one_out import CALIBRATION_ROWS, calibration_rows, left_out_scores
from dripstone.train.solve import solve
from dripstone.train.statistics import KeptRows, Sums, add_rows, expand, no_rows, to_sums

CLASSES = 5


def by_retraining(rows, head, looked_at) -> torch.Tensor:
    features, targets, weights = rows
    scores = []
    for row in looked_at:
        others = torch.arange(len(features)) != row
        statistics = add_rows(no_rows(), head, features[others], targets[others], weights[others])
        scores.append(expand(head, features[row : row + 1]) @ solve(statistics, head, PENALTY).weights)
    return torch.cat(scores)


def at_once(statistics, head, rows) -> torch.Tensor:
    return left_out_scores(statistics, solve(statistics, head, PENALTY), head, PENALTY, *rows)


@pytest.mark.parametrize(("size", "form"), [(100, KeptRows), (6, Sums)])
@pytest.mark.parametrize("kind", ["ones", "mixed", "heavy"])
@pytest.mark.parametrize("earlier", [0, 13])
def test_leaving_a_row_out_equals_training_without_it(earlier, kind, size, form):
    head = plain_head(CLASSES, size)
    features, targets, weights = problem(40, size)
    targets[27] = 4  # the only row of its class
    weights = {"ones": torch.ones_like(weights), "mixed": weights, "heavy": 1 + 1e4 * weights}[kind]
    rows = features, targets, weights
    latest = tuple(part[earlier:] for part in rows)
    statistics = add_rows(no_rows(), head, *(part[:earlier] for part in rows))
    statistics = add_rows(statistics, head, *latest)
    assert isinstance(statistics, form)
    looked_at = earlier + calibration_rows(latest[2])
    assert len(looked_at) == int((latest[2] > 0).sum())
    expected = by_retraining(rows, head, looked_at.tolist())
    assert torch.allclose(at_once(statistics, head, latest), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 6])
def test_leaving_out_the_only_row_leaves_nothing(size):
    head = plain_head(CLASSES, size)
    rows = torch.ones(1, size), torch.tensor([2]), torch.tensor([1.0], dtype=torch.float64)
    for statistics in (add_rows(no_rows(), head, *rows), to_sums(add_rows(no_rows(), head, *rows), head)):
        scores = at_once(statistics, head, rows)
        assert torch.allclose(scores, torch.zeros(1, CLASSES, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 5, 256, 257, 511, 512, 3000])
def test_at_most_so_many_rows_are_looked_at_evenly(rows):
    chosen = calibration_rows(torch.ones(rows))
    assert len(chosen) == min(rows, CALIBRATION_ROWS)
    assert chosen[0] == 0
    steps = chosen.diff()
    assert len(steps) == 0 or int(steps.max() - steps.min()) <= 1
    assert rows - int(chosen[-1]) <= max(1, math.ceil(rows / CALIBRATION_ROWS))


def test_rows_that_do_not_count_are_not_looked_at():
    assert calibration_rows(torch.tensor([0.0, 1.0, -1.0, 2.0])).tolist() == [1, 3]
    assert len(calibration_rows(torch.zeros(5))) == 0
    assert spaced(0, 3).tolist() == []


def test_kept_rows_are_looked_at_where_they_stand():
    head = plain_head(CLASSES, 2000)
    features, targets, weights = problem(600, 2000)
    statistics = add_rows(no_rows(), head, features[:100], targets[:100], weights[:100])
    latest = features[100:], targets[100:], weights[100:]
    statistics = add_rows(statistics, head, *latest)
    assert len(statistics.weights) < 600
    found, expected = at_once(statistics, head, latest), at_once(to_sums(statistics, head), head, latest)
    assert found.shape == (CALIBRATION_ROWS, CLASSES)
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
