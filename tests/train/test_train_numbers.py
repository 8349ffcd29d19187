"""The closed form on numbers: exact, whatever the stages, with a bias that no penalty pulls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dripstone.models.head import Head, Identity
from dripstone.train.closed_form import fit_head
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.leave_one_out import usual_error
from dripstone.train.statistics import Sums, add_rows, no_rows

PENALTY = 0.3


def rows(count, seed=0, mean=0.0, noise=0.1):
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 5, generator=draw)
    slopes = torch.arange(1.0, 6.0)
    targets = (features @ slopes).double() + mean + noise * torch.randn(count, generator=draw).double()
    weights = torch.rand(count, generator=draw).double() + 0.5
    return features, targets, weights


def fitted(features, targets, weights, statistics=None):
    head = Head(Identity(5), classes=1)
    statistics = add_rows(statistics or no_rows(), head, features, targets, weights)
    score = fit_head(head, statistics, PENALTY, features, targets, weights)
    return head, statistics, score


def solved(features, targets, weights):
    """The minimiser, the bias free of the penalty, by numpy."""
    phi = np.hstack([features.double().numpy(), np.ones((len(features), 1))])
    penalty = PENALTY * np.diag([1.0] * 5 + [0.0])
    system = phi.T @ (weights.numpy()[:, None] * phi) + penalty
    return np.linalg.solve(system, phi.T @ (weights.numpy() * targets.numpy()))


@pytest.mark.parametrize("mean", [0.0, 2000.0])
def test_the_solution_is_the_least_squares_one_with_a_free_bias(mean):
    given = rows(40, mean=mean)
    head, _, _ = fitted(*given)
    wanted = solved(*given)
    np.testing.assert_allclose((head.scale * head.weight).detach()[0], wanted[:5], rtol=1e-5)
    np.testing.assert_allclose((head.scale * head.bias).detach()[0], wanted[5], rtol=1e-6)


def test_stages_do_not_matter_and_rows_go_without_a_trace():
    features, targets, weights = rows(60, mean=30.0)
    whole, statistics, _ = fitted(features, targets, weights)
    assert isinstance(statistics, Sums)
    _, part, _ = fitted(features[:20], targets[:20], weights[:20])
    staged, _, _ = fitted(features[20:], targets[20:], weights[20:], part)
    np.testing.assert_allclose(staged.scale * staged.weight.detach(), whole.scale * whole.weight.detach(), rtol=1e-5)
    _, more, _ = fitted(*rows(10, seed=1), statistics)
    extra, values, heavy = rows(10, seed=1)
    less = add_rows(more, whole, extra, values, -heavy)
    np.testing.assert_allclose(less.cross, statistics.cross, atol=1e-9)
    np.testing.assert_allclose(less.gram, statistics.gram, atol=1e-9)


def test_the_score_is_the_explained_share_and_the_scale_the_usual_left_out_error():
    features, targets, weights = rows(200, mean=7.0, noise=0.5)
    head, _, score = fitted(features, targets, torch.ones(200).double())
    errors = []
    for left in range(200):
        others = [i for i in range(200) if i != left]
        found = solved(features[others], targets[others], torch.ones(199).double())
        errors.append(float(features[left].double().numpy() @ found[:5] + found[5] - targets[left].item()))
    assert float(head.scale) == pytest.approx(usual_error(torch.tensor(errors)), rel=1e-4)
    spread = float((targets - targets.mean()).square().sum())
    assert score == pytest.approx(1 - float(np.square(errors).sum()) / spread, rel=1e-6)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(3)).double()
    assert fitted(features, noise, weights)[2] == pytest.approx(0.0, abs=0.05)


def test_equal_numbers_leave_a_head_that_answers_them():
    features, _, weights = rows(30)
    head, _, score = fitted(features, torch.full((30,), 4.0).double(), weights)
    np.testing.assert_allclose(head(features).detach(), 4.0, rtol=1e-5)
    assert score == 0.0


def test_a_usual_error_is_not_moved_by_a_few_and_never_0():
    errors = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    usual = usual_error(errors)
    assert usual == pytest.approx(1.0, abs=0.1)
    errors[:20] = 1e6
    assert usual_error(errors) == pytest.approx(usual, abs=0.1)
    assert usual_error(torch.tensor([0.0, 0.0, 3.0])) == pytest.approx(3**0.5)
    assert usual_error(torch.zeros(3)) == 1.0


def test_a_penalty_is_chosen_where_noise_asks_for_one_and_the_mean_does_not_matter():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(60, 50, generator=draw)
    targets = features[:, 0].double() * 0.3 + 3 * torch.randn(60, generator=draw).double()
    chosen = []
    for mean in (0.0, 1000.0):
        head = Head(Identity(50), classes=1)
        choose_hyperparameters(head, features, targets + mean, torch.ones(60))
        chosen.append(float(head.penalty))
    assert chosen[0] == chosen[1]
    assert chosen[0] > 0.05
