"""The same streams through ``ville``, an independent implementation of betting.

Its gambler bets c/m, or less where the spread of the rows asks for less. At a level near 0 it never asks for less, and
the gambler is one of ours: the wealth of each, their mean after every row and the highest mean must agree to 9 digits.
At a usual level its bets follow the spread: ours may need 1.4 times the rows for a proof, and the lower ends of the two
confidence sequences lie within 5 points of each other, within 2 on average.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from ville import BettingCS, BettingTest, evalues

from dripstone.gate.evidence import BETS, gain_evidence, highest_log_wealth, level, log_factors, log_mean, log_wealth

NEVER = 1e-300
"""A level at which the peer's bets are the largest allowed ones, for the 250 rows of a stream."""


def streams(kind: str, rows: int = 250) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    draws = {
        "coins": lambda: rng.choice([1, 0, -1], p=[0.1, 0.85, 0.05], size=rows),
        "fair coins": lambda: rng.choice([1, -1], size=rows),
        "reals": lambda: rng.uniform(-0.7, 1, rows),
        "sure losses": lambda: np.full(rows, -1),
    }
    return [draws[kind]() for _ in range(5)]


def peer_path(stream: np.ndarray, bound: float) -> np.ndarray:
    """The peer's wealth after each row, the mean over a gambler for each of our bets."""
    wealths = [
        BettingTest(bound, bounds=(-1, 1), alternative="greater", alpha=NEVER, c=bet).fit(stream).e_values_
        for bet in BETS
    ]
    return evalues.combine(np.stack(wealths), "mean", axis=0)


@pytest.mark.parametrize("bound", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("kind", ["coins", "fair coins", "reals", "sure losses"])
def test_the_wealth_is_the_same_after_every_row(kind, bound):
    for stream in streams(kind):
        expected = peer_path(stream, bound)
        found = np.exp(log_mean(np.cumsum(log_factors(stream, None, bound), axis=0)))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert math.exp(log_wealth(stream, bound=bound)) == pytest.approx(expected[-1], rel=1e-9)
        assert math.exp(highest_log_wealth(stream, bound)) == pytest.approx(max(1.0, expected.max()), rel=1e-9)


def test_a_weight_is_a_smaller_difference():
    rng = np.random.default_rng(8)
    for stream in streams("reals"):
        weights = rng.random(len(stream))
        expected = peer_path(0.1 + weights * (stream - 0.1), 0.1)
        found = np.exp(log_mean(np.cumsum(log_factors(stream, weights, 0.1), axis=0)))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("wins", "losses"), [(0.3, 0.1), (0.1, 0.02), (0.06, 0.03), (0.9, 0.05)])
def test_a_gain_is_proven_about_as_quickly(wins, losses):
    rng = np.random.default_rng(9)
    alpha = level(0.05, 1)
    ours, theirs = [], []
    for _ in range(50):
        stream = rng.choice([1, 0, -1], p=[wins, 1 - wins - losses, losses], size=6000)
        above = np.flatnonzero(log_mean(np.cumsum(log_factors(stream), axis=0)) >= math.log(1 / alpha))
        ours.append(above[0] + 1 if len(above) else math.inf)
        crossed = BettingTest(0.0, bounds=(-1, 1), alternative="greater", alpha=alpha).fit(stream).stopping_time()
        theirs.append(crossed or math.inf)
    assert np.median(ours) <= 1.4 * np.median(theirs)


@pytest.mark.parametrize("kind", ["coins", "reals"])
def test_the_lower_end_of_the_gain_is_about_the_same(kind):
    rng = np.random.default_rng(10)
    found, expected = [], []
    for _ in range(15):
        stream = rng.choice([1, 0, -1], p=[0.4, 0.5, 0.1], size=800) if kind == "coins" else rng.uniform(-0.4, 1, 800)
        found.append(gain_evidence(stream, 0.05, 0, 0.2).gain_at_least)
        # Two-sided at 0.05, with half of the capital on either side: one-sided at the level of the first candidate.
        expected.append(BettingCS(bounds=(-1, 1), alpha=2 * level(0.05, 1), grid=1001).fit(stream).interval()[0])
    assert np.abs(np.array(found) - np.array(expected)).max() < 0.05
    assert abs(np.mean(found) - np.mean(expected)) < 0.02
