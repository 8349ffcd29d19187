"""The L2 penalty: half the squared distance from the start, of what was there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dripstone.train.l2 import L2Penalty, held_part


def test_the_value_is_the_hand_computed_one():
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([[3.0]]))
    penalty = L2Penalty(0.1, [a, b], [torch.tensor([0.0, 4.0]), torch.tensor([[1.0]])])
    assert penalty.loss().item() == pytest.approx(0.1 / 2 * (1 + 4 + 4))


def test_the_gradient_pulls_towards_the_start():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    start = torch.tensor([0.0, 4.0])
    L2Penalty(3.0, [parameter], [start]).loss().backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [3.0, -6.0]


def test_nothing_is_lost_before_anything_moves_and_live_values_count():
    parameter = nn.Parameter(torch.randn(4))
    penalty = L2Penalty(2.0, [parameter], [parameter.detach().clone()])
    assert penalty.loss().item() == 0.0
    with torch.no_grad():
        parameter += 1.0
    assert penalty.loss().item() == pytest.approx(4.0)


def test_of_a_parameter_that_grew_the_old_rows_are_held():
    weight = nn.Parameter(torch.ones(3, 2))
    penalty = L2Penalty(1.0, [weight], [torch.zeros(1, 2)])
    assert penalty.loss().item() == pytest.approx(1.0)
    penalty.loss().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_single_number_is_a_parameter_too():
    scale = nn.Parameter(torch.tensor(3.0))
    assert L2Penalty(1.0, [scale], [torch.tensor(1.0)]).loss().item() == pytest.approx(2.0)


def test_the_held_part():
    values = torch.arange(6.0).reshape(3, 2)
    assert held_part(values, torch.zeros(3, 2)) is values
    assert held_part(values, torch.zeros(2, 2)).tolist() == [[0.0, 1.0], [2.0, 3.0]]
