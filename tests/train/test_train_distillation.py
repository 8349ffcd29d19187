"""Distillation: the paper's loss, on new rows and known labels alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dripstone.train.distillation import Distillation
from dripstone.train.held_logits import HeldLogits

CHAMPION = torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0], [1.0, -1.0]])
"""At temperature 2 the first row says 3/4 and 1/4, the second a half each."""

KL = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
"""From the first row's answer to that of equal logits."""

REACHED = 4 * KL
"""Times the squared temperature."""


def term(weight: float = 1.0, row_weights: list[float] | None = None, champion: torch.Tensor = CHAMPION):
    given = torch.ones(len(champion)) if row_weights is None else torch.tensor(row_weights, dtype=torch.float64)
    return Distillation(weight, HeldLogits(champion, given))


def test_the_value_is_the_hand_computed_one():
    loss = term().loss(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((REACHED + 0) / 2, rel=1e-6)


def test_the_champion_itself_loses_nothing():
    loss = term().loss(CHAMPION + torch.tensor([[5.0], [-7.0], [0.5]]), torch.arange(3))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_rows_are_found_by_their_index():
    batch = torch.tensor([1, 0])
    assert term().loss(CHAMPION[batch], batch).item() == pytest.approx(0.0, abs=1e-6)
    assert term().loss(CHAMPION[batch], torch.tensor([0, 1])).item() > 0.4


def test_gradients_are_those_of_the_papers_cross_entropy():
    torch.manual_seed(0)
    champion, logits = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    recorded, current = (champion / 2).softmax(dim=1), (logits / 2).softmax(dim=1)
    papers = -4 * (recorded * current.log()).sum(dim=1).mean()
    (expected,) = torch.autograd.grad(papers, logits)
    (found,) = torch.autograd.grad(term(champion=champion).loss(logits, torch.arange(5)), logits)
    assert torch.allclose(found, expected, atol=1e-7)


def test_gradients_reach_known_labels_of_rows_it_applies_to_alone():
    logits = torch.zeros(3, 4, requires_grad=True)
    term(row_weights=[1.0, 1.0, 0.0]).loss(logits, torch.tensor([0, 1, 2])).backward()
    assert logits.grad is not None
    moved = logits.grad != 0
    assert moved.tolist() == [[True, True, False, False], [False] * 4, [False] * 4]


def test_row_weights_weigh_and_the_mean_is_over_the_whole_batch():
    weighed = term(row_weights=[3.0, 0.5, 0.0])
    batch = torch.tensor([0, 1, 2])
    assert weighed.loss(torch.zeros(3, 2), batch).item() == pytest.approx(3 * REACHED / 3, rel=1e-6)
    assert weighed.loss(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(3 * REACHED, rel=1e-6)


def test_its_own_weight_is_in_the_loss():
    one, half = (term(weight).loss(torch.zeros(1, 2), torch.tensor([0])) for weight in (1.0, 0.5))
    assert half.item() == pytest.approx(0.5 * one.item())


def test_a_batch_without_rows_it_applies_to_adds_nothing():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = term(row_weights=[0.0, 0.0, 1.0]).loss(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_rows_it_does_not_apply_to_may_hold_anything():
    champion = torch.tensor([[1.0, 0.0], [torch.nan, torch.inf]])
    logits = torch.tensor([[0.0, 0.0], [torch.inf, 0.0]], requires_grad=True)
    loss = term(row_weights=[1.0, 0.0], champion=champion).loss(logits, torch.arange(2))
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_one_known_label_leaves_no_choice():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = term(champion=torch.randn(3, 1)).loss(logits, torch.arange(3))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_large_logits_stay_finite():
    champion = torch.tensor([[300.0, -300.0]])
    logits = torch.tensor([[-300.0, 300.0]], requires_grad=True)
    loss = term(champion=champion).loss(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(4 * 300)
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.tensor([[-2.0, 2.0]]))


def test_the_size_of_its_gradients_does_not_fall_with_the_temperature():
    """Near the champion they are about those of a cross-entropy with its answers: the squared temperature's point."""
    torch.manual_seed(0)
    champion = torch.randn(200, 10) * 0.1
    logits = (champion + 0.1 * torch.randn(200, 10)).requires_grad_()
    (found,) = torch.autograd.grad(term(champion=champion).loss(logits, torch.arange(200)), logits)
    (plain,) = torch.autograd.grad(nn.functional.cross_entropy(logits, champion.softmax(dim=1)), logits)
    assert 0.8 < found.norm() / plain.norm() < 1.25
