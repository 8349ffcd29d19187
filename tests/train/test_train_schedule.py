"""The learning rate over the steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dripstone.core.config import Step, TrainConfig
from dripstone.train.optimizers import make_optimizers
from dripstone.train.schedule import learning_rate_factor, set_learning_rate

SCHEDULES = ["constant", "linear", "cosine"]


def factors(steps: int, schedule: str, warmup: float = 0.0) -> list[float]:
    config = Step(schedule=schedule, warmup=warmup)
    return [learning_rate_factor(step, steps, config) for step in range(steps)]


def test_the_three_schedules():
    assert factors(4, "constant") == [1, 1, 1, 1]
    assert factors(4, "linear") == [1, 0.75, 0.5, 0.25]
    assert factors(4, "cosine") == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_begins_with_its_warm_up(schedule):
    assert factors(10, schedule, 0.4)[:5] == [0.25, 0.5, 0.75, 1, 1]
    assert factors(10, schedule, 0.4)[4:] == factors(6, schedule)


def test_the_warm_up_is_the_nearest_number_of_steps():
    assert factors(100, "constant", 0.29).count(1.0) == 72
    assert factors(3, "constant", 0.1) == [1, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_ends_where_it_should(schedule):
    config = Step(schedule=schedule, warmup=0.5)
    expected = 1.0 if schedule == "constant" else 0.0
    assert [learning_rate_factor(step, 10, config) for step in (10, 11, 10**9)] == [expected] * 3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.4, 0.5, 0.99])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_single_step_is_a_whole_one(schedule, warmup, steps):
    assert learning_rate_factor(0, steps, Step(schedule=schedule, warmup=warmup)) == 1.0


@given(
    st.integers(1, 10_000).flatmap(lambda steps: st.tuples(st.integers(0, steps - 1), st.just(steps))),
    st.sampled_from(SCHEDULES),
    st.floats(0, 1, exclude_max=True),
)
def test_no_step_is_wasted_and_none_is_too_long(where, schedule, warmup):
    assert 0 < learning_rate_factor(*where, Step(schedule=schedule, warmup=warmup)) <= 1


@given(st.integers(1, 300), st.sampled_from(SCHEDULES), st.floats(0, 1, exclude_max=True))
def test_it_rises_and_then_falls(steps, schedule, warmup):
    found = factors(steps, schedule, warmup)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_the_rate_is_set_from_where_it_began_and_not_from_where_it_is():
    named = {"weight": nn.Parameter(torch.ones(2, 2)), "bias": nn.Parameter(torch.ones(2))}
    optimizers = make_optimizers(named, TrainConfig(optimizer="muon", learning_rate=0.5))
    optimizers[1].add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.25})
    for factor in (0.5, 0.0, 1.0, 0.5):
        set_learning_rate(optimizers, factor)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    assert [(group["lr"], group["initial_lr"]) for group in groups] == [(0.25, 0.5), (0.25, 0.5), (0.125, 0.25)]


def test_a_rate_of_zero_moves_nothing():
    named = {"weight": nn.Parameter(torch.ones(2, 2))}
    for name in ("sgd", "adam", "adamw", "nadam", "adagrad", "adafactor", "radam", "muon"):
        optimizers = make_optimizers(named, TrainConfig(optimizer=name))
        set_learning_rate(optimizers, 0.0)
        named["weight"].grad = torch.ones(2, 2)
        optimizers[0].step()
        assert torch.equal(named["weight"].detach(), torch.ones(2, 2)), name
