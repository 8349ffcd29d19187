"""Width and penalty: what leave-one-out shows clearly is taken, else the defaults stay."""

from __future__ import annotations

import math

import pytest
import torch
from closed_form_samples import plain_head, random_head

from dripstone.core.spacing import spaced
from dripstone.models import mlp
from dripstone.models.head import PENALTY, Head
from dripstone.train.features import features_of
from dripstone.train.hyperparameters import FEWEST_ROWS, ROWS, WIDTHS, _left_out_errors, choose_hyperparameters
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, expand, no_rows


def noise(rows: int, size: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two classes that the first feature tells apart, three labels of ten wrong: to fit them all is a mistake."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, size, generator=generator)
    wrong = torch.rand(rows, generator=generator) < 0.3
    return features, ((features[:, 0] > 0) ^ wrong).long(), torch.ones(rows)


def board(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A board of black and white fields: what is true of a row ends nearby."""
    features = 6 * torch.rand(rows, 2, generator=torch.Generator().manual_seed(0))
    return features, features.floor().sum(dim=1).long() % 2, torch.ones(rows)


def settings(head: Head) -> tuple[float, float]:
    width = getattr(head.expansion, "width", torch.tensor(0.0))
    return float(width), float(head.penalty)


def test_errors_are_those_of_solutions_without_each_row():
    features, targets, _ = noise(60, size=12)
    weights = 0.5 + torch.arange(60, dtype=torch.float64) % 3
    head = random_head(features, 100, classes=2)
    found = _left_out_errors(expand(head, features), targets, weights, PENALTY, (1.0, 10.0))
    for errors, penalty in zip(found, (PENALTY, 10 * PENALTY), strict=True):
        for row in range(60):
            others = torch.arange(60) != row
            statistics = add_rows(no_rows(), head, features[others], targets[others], weights[others])
            scores = expand(head, features[row : row + 1]) @ solve(statistics, head, penalty).weights
            assert bool(errors[row]) == (int(scores.argmax()) != int(targets[row]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_asks_for_less_detail(seed):
    rows = noise(800, seed=seed)
    default, chosen = (random_head(rows[0], 600, classes=2) for _ in range(2))
    choose_hyperparameters(chosen, *rows)
    assert settings(chosen) > settings(default)
    fresh = noise(2000, seed=9)[0]
    right = []
    for head in (default, chosen):
        weights = solve(add_rows(no_rows(), head, *rows), head, float(head.penalty)).weights
        right.append(float(((expand(head, fresh) @ weights).argmax(1) == (fresh[:, 0] > 0)).float().mean()))
    assert right[1] > right[0] + 0.01


def test_fine_detail_asks_for_a_narrower_kernel():
    rows = board(900)
    head = random_head(rows[0], 600, classes=2)
    width = float(head.expansion.width)
    choose_hyperparameters(head, *rows)
    assert float(head.expansion.width) == pytest.approx(min(WIDTHS) * width)


@pytest.mark.parametrize("rows", [60, 246])
def test_an_easy_first_stage_moves_no_bit(rows):
    digits = pytest.importorskip("sklearn.datasets").load_digits(n_class=2)
    inputs, targets = list(digits.data[:rows].astype("f4")), torch.from_numpy(digits.target[:rows]).long()
    model = mlp(inputs=64)
    model.fit(inputs)
    features = features_of(model, inputs)
    model.head.fit(features)
    before = settings(model.head)
    choose_hyperparameters(model.head, features, targets, torch.ones(rows))
    assert settings(model.head) == before


def few_rows():
    return tuple(part[: FEWEST_ROWS - 1] for part in noise(800))


def few_that_count():
    features, targets, weights = noise(800)
    return features, targets, weights * (torch.arange(800) < FEWEST_ROWS - 1)


def one_class():
    features, targets, weights = noise(800)
    return features, torch.ones_like(targets), weights


def not_finite():
    features, targets, weights = noise(800)
    features[7, 3] = math.nan
    return features, targets, weights


def too_large():
    features, targets, weights = noise(800)
    features[7, 3] = 3e38  # finite, but for a narrower kernel
    return features, targets, weights


@pytest.mark.parametrize(
    "rows", [few_rows, few_that_count, one_class, not_finite, too_large], ids=lambda rows: rows.__name__
)
def test_what_tells_nothing_leaves_the_defaults(rows):
    head = random_head(noise(800)[0], 600, classes=2)
    before = settings(head)
    choose_hyperparameters(head, *rows())
    assert settings(head) == before


def test_rows_of_no_weight_do_not_count():
    features, targets, weights = board(1250)
    other = torch.arange(1250) % 5 == 0
    default, one, two = (random_head(features, 600, classes=2) for _ in range(3))
    choose_hyperparameters(one, features[~other], targets[~other], weights[~other])
    choose_hyperparameters(two, features, torch.where(other, 1 - targets, targets), weights * ~other)
    assert settings(one) == settings(two) != settings(default)


def test_so_many_rows_are_looked_at_evenly():
    rows = board(2 * ROWS + 300)
    some = tuple(part[spaced(len(rows[1]), ROWS)] for part in rows)
    default, one, two = (random_head(rows[0], 600, classes=2) for _ in range(3))
    choose_hyperparameters(one, *rows)
    choose_hyperparameters(two, *some)
    assert settings(one) == settings(two) != settings(default)


def test_without_an_expansion_there_is_the_penalty_alone():
    features, *rest = noise(400, size=300)
    head = plain_head(2, 300)
    choose_hyperparameters(head, features / 10, *rest)
    assert settings(head)[1] > PENALTY


def test_a_penalty_that_is_given_is_not_chosen():
    rows = board(900)
    head = random_head(rows[0], 600, classes=2)
    width, penalty = settings(head)
    choose_hyperparameters(head, *rows, ridge=1.0)
    assert settings(head) == (pytest.approx(min(WIDTHS) * width), penalty)


def test_labels_are_not_touched():
    rows = noise(800)
    before = [part.clone() for part in rows]
    choose_hyperparameters(random_head(rows[0], 600, classes=2), *rows)
    assert all(torch.equal(a, b) for a, b in zip(before, rows, strict=True))
