"""Limits besides the gate's own question."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.config import Limits
from dripstone.core.records import Flips, Metrics, MetricsPair
from dripstone.gate.limits import BINS, calibration_error, count_flips, exceeded


def pair(error: float | None = None, old: float | None = None, new: float | None = None) -> MetricsPair:
    return MetricsPair(Metrics(latency_ms=old), Metrics(calibration_error=error, latency_ms=new))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_flips_are_counted_both_ways(rows):
    before, after = (np.array([row[side] for row in rows], dtype=bool) for side in (0, 1))
    found = count_flips(before, after)
    assert found == Flips(rows.count((True, False)), rows.count((False, True)), len(rows))


def test_the_calibration_error_is_the_mean_gap_over_bins():
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(500), [0.0, 1.0]])
    right = rng.random(502) < 0.4
    edges = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidence[edges == b].mean() - right[edges == b].mean()) * (edges == b).mean()
        for b in range(BINS)
        if (edges == b).any()
    ]
    assert calibration_error(confidence, right) == pytest.approx(sum(gaps))
    assert calibration_error(confidence.astype(np.float32), right) == pytest.approx(sum(gaps), abs=1e-6)


def test_the_calibration_error_at_its_ends():
    assert calibration_error(np.empty(0), np.empty(0, bool)) is None
    assert calibration_error(np.ones(5), np.ones(5, bool)) == 0.0
    assert calibration_error(np.ones(5), np.zeros(5, bool)) == 1.0
    assert calibration_error(np.zeros(5), np.zeros(5, bool)) == 0.0


def test_no_limit_is_never_exceeded():
    assert exceeded(Limits(), Flips(100, 0, 100), pair(1.0, 1.0, 1e9)) == []


@pytest.mark.parametrize(("negative", "broken"), [(0, False), (2, False), (3, True)])
def test_the_limit_itself_may_be_reached_by_flips(negative, broken):
    found = exceeded(Limits(negative_flips=0.02), Flips(negative, 9, 100), pair())
    assert bool(found) == broken
    assert not broken or found == [
        "3 of 100 held-out rows turned from right to wrong, more than the 2 % of gate.limits"
    ]


def test_the_calibration_limit_says_its_numbers():
    limits = Limits(calibration_error=0.1)
    assert exceeded(limits, Flips(), pair(0.1)) == exceeded(limits, Flips(), pair(None)) == []
    assert exceeded(limits, Flips(), pair(0.25)) == ["the calibration error is 0.250, above the 0.1 of gate.limits"]


def test_the_latency_limit_says_its_numbers():
    limits = Limits(latency_ratio=1.5)
    assert exceeded(limits, Flips(), pair(None, 2.0, 3.0)) == exceeded(limits, Flips(), pair()) == []
    assert exceeded(limits, Flips(), pair(None, 2.0, 3.5)) == [
        "a row takes 3.50 ms where the live version takes 2.00, more than the 1.5 times of gate.limits"
    ]


def test_every_broken_limit_has_a_clause():
    limits = Limits(negative_flips=0.01, calibration_error=0.1, latency_ratio=2.0)
    assert len(exceeded(limits, Flips(5, 0, 100), pair(0.5, 1.0, 9.0))) == 3
    assert exceeded(limits, Flips(), pair()) == []
