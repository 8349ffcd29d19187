"""Looks over a store's life: what each may spend, how often they are wrong together, and what they say."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dripstone.curate.drift import InputDrift, look_for_drift
from dripstone.curate.replay import remember


def rows(count, mean=0.0, width=6, seed=0):
    return np.random.default_rng(seed).normal(mean, size=(count, width)).astype(np.float32)


def test_levels_fall_with_the_looks_and_sum_to_alpha():
    before = rows(200)
    spent = [look_for_drift(before, rows(60, seed=1), looks, alpha=0.1).level for looks in range(4)]
    assert spent == pytest.approx([0.1 / 2, 0.1 / 6, 0.1 / 12, 0.1 / 20])
    assert look_for_drift(before, rows(60, seed=1), looks=3).looks == 4


def test_a_look_that_could_not_alarm_spends_nothing():
    # Two rows of two hundred: one is learned from, one ranks highest of 101 at best, 0.0099.
    before, new = rows(200), rows(2, mean=100, seed=1)
    first = look_for_drift(before, new, looks=0)
    assert (first.alarm, first.level, first.looks) == (True, 0.025, 1)
    second = look_for_drift(before, new, looks=1)
    assert (second.alarm, second.level, second.p_value, second.looks) == (False, 0.0, 1.0, 1)


@pytest.mark.parametrize(("reference", "new"), [(0, 50), (50, 0), (1, 50), (50, 1), (0, 0)])
def test_hardly_any_rows_are_no_alarm(reference, new):
    found = look_for_drift(rows(reference), rows(new, mean=9), looks=5)
    assert found == InputDrift(False, 1.0, 0.0, reference, new, looks=5)


def test_a_clear_shift_is_an_alarm_at_the_thousandth_look():
    found = look_for_drift(rows(1000, width=64), rows(40, mean=0.8, width=64, seed=1), looks=999)
    assert found.alarm
    assert found.p_value <= found.level == pytest.approx(0.05 / (1000 * 1001))


def test_the_rows_that_are_looked_at_are_counted():
    found = look_for_drift(rows(1200, width=1), rows(5000, width=1, seed=1), looks=0)
    assert (found.reference, found.new) == (1000, 1000)


def test_the_same_look_gives_the_same_and_looks_draw_anew():
    before, new = rows(100), rows(40, seed=1)
    assert look_for_drift(before, new, 3, seed=7) == look_for_drift(before, new, 3, seed=7)
    assert len({look_for_drift(before, new, looks, seed=7).p_value for looks in range(8)}) > 4
    assert len({look_for_drift(before, new, 3, seed=seed).p_value for seed in range(8)}) > 4


def alarms_in(life, alpha):
    """Twelve looks at twenty rows each beside a reservoir of forty; the rows tie."""
    random = np.random.default_rng((life, 3))
    stream = random.integers(0, 3, size=(40 + 12 * 20, 4)).astype(np.float32)
    memory, seen = remember([], 0, range(40), 40, life)
    looks = 0
    for _ in range(12):
        coming = range(seen, seen + 20)
        found = look_for_drift(stream[memory], stream[seen : seen + 20], looks, alpha, seed=life)
        if found.alarm:
            return True
        looks = found.looks
        memory, seen = remember(memory, seen, coming, 40, life)
    return False


def test_false_alarms_in_a_life_keep_the_bound():
    lives, alpha = 400, 0.3
    alarmed = sum(alarms_in(life, alpha) for life in range(lives))
    assert alarmed <= lives * alpha + 3 * math.sqrt(lives * alpha * (1 - alpha))
    assert alarmed > 0


def test_what_a_look_says():
    alarm = InputDrift(True, 2.1e-7, 0.001, reference=1000, new=1234, looks=3)
    assert str(alarm) == "the 1,234 new rows look different from the 1,000 before (p = 2e-07)"
    calm = dataclasses.replace(alarm, alarm=False, p_value=0.34)
    assert str(calm) == "nothing shows that the 1,234 new rows look different from the 1,000 before (p = 0.3)"
    unsure = InputDrift(False, 1.0, 0.0, reference=1000, new=1, looks=3)
    assert str(unsure) == "1 new row and 1,000 before are too few to tell apart"


def test_a_look_is_a_frozen_record():
    with pytest.raises(dataclasses.FrozenInstanceError):
        look_for_drift(rows(5), rows(5), 0).alarm = True  # type: ignore[misc]


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        look_for_drift(rows(50), np.full((50, 6), np.nan, np.float32), looks=0)
