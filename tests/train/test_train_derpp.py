"""Dark experience replay: squared distance to the champion's logits, on replayed rows and known labels alone."""

from __future__ import annotations

import math

import pytest
import torch

from dripstone.train.derpp import DarkExperienceReplay
from dripstone.train.held_logits import HeldLogits

CHAMPION = torch.tensor([[1.0, 2.0], [0.0, -4.0], [3.0, 3.0]])


def term(weight: float = 1.0, row_weights: list[float] | None = None, champion: torch.Tensor = CHAMPION):
    given = torch.ones(len(champion)) if row_weights is None else torch.tensor(row_weights, dtype=torch.float64)
    return DarkExperienceReplay(weight, HeldLogits(champion, given))


def test_the_value_is_the_hand_computed_one():
    loss = term().loss(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(((1 + 4) / 2 + 16 / 2) / 2)


def test_the_champion_itself_loses_nothing_whatever_new_labels_score():
    grown = torch.cat([CHAMPION, torch.full((3, 2), 50.0)], dim=1)
    assert term().loss(grown, torch.arange(3)).item() == 0.0


def test_unlike_answers_logits_are_held_up_to_no_constant():
    assert term().loss(CHAMPION + 2.0, torch.arange(3)).item() == pytest.approx(4.0)


def test_rows_are_found_by_their_index():
    batch = torch.tensor([2, 0])
    assert term().loss(CHAMPION[batch], batch).item() == 0.0
    assert term().loss(CHAMPION[batch], torch.tensor([0, 2])).item() == pytest.approx(2.5)


def test_gradients_reach_known_labels_of_rows_it_applies_to_alone():
    logits = torch.zeros(3, 4, requires_grad=True)
    term(row_weights=[0.0, 1.0, 2.0]).loss(logits, torch.tensor([0, 1, 2])).backward()
    # 2 (logit - champion) / labels x row weight / rows of the batch
    expected = torch.tensor([[0.0] * 4, [0.0, 4 / 3, 0.0, 0.0], [-2.0, -2.0, 0.0, 0.0]])
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected)


def test_row_weights_weigh_and_the_mean_is_over_the_whole_batch():
    weighed = term(row_weights=[3.0, 0.5, 0.0])
    assert weighed.loss(torch.zeros(3, 2), torch.arange(3)).item() == pytest.approx((3 * 2.5 + 0.5 * 8) / 3)


def test_its_own_weight_is_in_the_loss():
    assert term(0.2).loss(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(0.2 * 2.5)


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


def test_one_known_label_is_held_too():
    loss = term(champion=torch.tensor([[1.0], [2.0], [3.0]])).loss(torch.zeros(1, 4), torch.tensor([2]))
    assert loss.item() == pytest.approx(9.0)
