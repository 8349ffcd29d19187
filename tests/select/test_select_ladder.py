"""The rungs that a model has."""

from __future__ import annotations

from dripstone.models import mlp
from dripstone.select.ladder import rungs


def test_there_are_as_many_rungs_as_blocks_up_to_two():
    assert [len(rungs(mlp(inputs=2, hidden=[4] * blocks), "ridge", "sgd")) for blocks in range(5)] == [1, 2, 3, 3, 3]


def test_methods_are_the_callers():
    assert rungs(mlp(inputs=2, hidden=[4]), "adamw", "sgd") == ["head@adamw", "suffix:1@sgd"]
