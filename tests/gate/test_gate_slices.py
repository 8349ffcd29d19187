"""Harm in a slice: found, named, and rarely seen where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from dripstone.gate.evidence import log_wealth
from dripstone.gate.slices import OVERALL, find_harm, slice_members


def contest(rows: int, lost: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """The champion is always right, the candidate is wrong on the lost rows."""
    return ~np.isin(np.arange(rows), list(lost)), np.ones(rows, bool)


def test_rows_belong_to_their_class_and_to_their_slice():
    members = slice_members(["a", "b", "a"], ["eu", None, "us"])
    assert {name: rows.tolist() for name, rows in members.items()} == {
        "class a": [0, 2],
        "slice eu": [0],
        "class b": [1],
        "slice us": [2],
    }
    assert slice_members([], []) == {}


def test_slices_of_another_length_are_a_programming_error():
    with pytest.raises(ValueError):
        slice_members(["a", "b"], ["eu"])


def test_a_hurt_class_is_found_and_named():
    labels = [f"c{row % 10}" for row in range(1000)]
    members = slice_members(labels, [None] * 1000)
    candidate, champion = contest(1000, range(3, 1000, 20))
    harm = find_harm(candidate, champion, members, margin=0.01, alpha=0.05)
    assert harm is not None
    assert (harm.slice, harm.rows, harm.worse, harm.better) == ("class c3", 100, 50, 0)
    assert harm.wealth >= harm.bar == pytest.approx(11 / 0.05)


def test_harm_spread_over_all_classes_is_found_overall():
    labels = [f"c{row % 100}" for row in range(2000)]
    candidate, champion = contest(2000, range(0, 2000, 25))
    harm = find_harm(candidate, champion, slice_members(labels, [None] * 2000), margin=0.01, alpha=0.05)
    assert harm is not None
    assert harm.slice == OVERALL


def test_the_bar_rises_with_the_number_of_slices():
    candidate, champion = contest(40, range(0, 40, 5))
    wealth = log_wealth((champion.astype(int) - candidate), bound=0.01)
    alpha = 1.5 / math.exp(wealth)
    assert find_harm(candidate, champion, {}, margin=0.01, alpha=alpha) is not None
    others = {"class a": np.arange(1), "class b": np.arange(1, 2)}
    assert find_harm(candidate, champion, others, margin=0.01, alpha=alpha) is None


def test_a_loss_within_the_margin_is_seldom_called_harm():
    rng = np.random.default_rng(0)
    labels = [f"c{row % 5}" for row in range(500)]
    members = slice_members(labels, [None] * 500)
    refused = 0
    for _ in range(200):
        loss = rng.choice([1, 0, -1], p=[0.06, 0.89, 0.05], size=500)
        refused += find_harm(loss <= 0, loss >= 0, members, margin=0.01, alpha=0.05) is not None
    assert refused / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_five_points_of_loss_on_a_thousand_rows_are_harm():
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(40):
        loss = rng.choice([1, 0, -1], p=[0.07, 0.91, 0.02], size=1000)
        found += find_harm(loss <= 0, loss >= 0, {}, margin=0.01, alpha=0.05) is not None
    assert found >= 36


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_handful_of_rows_shows_no_harm(rows):
    assert find_harm(np.zeros(rows, bool), np.ones(rows, bool), {}, margin=0.01, alpha=0.05) is None


def test_enough_rows_all_lost_do():
    harm = find_harm(np.zeros(5000, bool), np.ones(5000, bool), {}, margin=0.01, alpha=0.05)
    assert harm is not None
    assert math.isfinite(harm.wealth)
