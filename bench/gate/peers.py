"""Other gates, which decide by the fresh rows of each candidate: how many got better (wins) and worse (losses).

References
----------
McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12, 1947.
Fagerland et al., "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact
conditional", BMC Medical Research Methodology 13, 2013. Efron & Tibshirani, "An introduction to the bootstrap", 1993,
chapter 13.
"""

from __future__ import annotations

import functools
import math

import numpy as np

PEERS = ("accuracy >=", "non-inferiority 0.5", "McNemar 0.05", "bootstrap 95 %")

RESAMPLES = 1000
_TOLERATED = 0.005
_NORMAL_95 = 1.645


def decide(peer: str, wins: np.ndarray, losses: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    """[candidates] bool: which of them the peer promotes.

    Examples
    --------
    >>> wins, losses = np.array([12, 5, 3]), np.array([2, 4, 4])
    >>> for peer in PEERS:
    ...     print(peer, decide(peer, wins, losses, 200, np.random.default_rng(0)))
    accuracy >= [ True  True False]
    non-inferiority 0.5 [ True False False]
    McNemar 0.05 [ True False False]
    bootstrap 95 % [ True False False]
    """
    if peer == "accuracy >=":
        return wins >= losses
    if peer == "non-inferiority 0.5":
        gain = (wins - losses) / rows
        error = np.sqrt(((wins + losses) / rows - gain**2) / rows)
        return gain - _NORMAL_95 * error > -_TOLERATED
    if peer == "McNemar 0.05":
        return wins >= np.array([least_wins(int(differing)) for differing in wins + losses])
    return _bootstrap(wins, losses, rows, draw)


@functools.cache
def least_wins(differing: int, alpha: float = 0.05) -> int:
    """The least wins among ``differing`` rows that are significant, two-sided, by McNemar's mid-p test.

    Examples
    --------
    >>> least_wins(10), least_wins(4)
    (9, 5)
    """
    wins = np.arange(differing + 1)
    logs = np.array([math.lgamma(count + 1) for count in range(differing + 1)])
    chances = np.exp(logs[differing] - logs - logs[::-1] - differing * math.log(2))
    above = chances[::-1].cumsum()[::-1]
    significant = np.flatnonzero((2 * above - chances <= alpha) & (2 * wins > differing))
    return int(significant[0]) if len(significant) else differing + 1


def _bootstrap(wins: np.ndarray, losses: np.ndarray, rows: int, draw: np.random.Generator) -> np.ndarray:
    """Whether 95 % of the resamples of the rows show a gain. Wins and losses of a resample are multinomial."""
    ahead = np.flatnonzero(wins > losses)  # no other can have 95 % above 0
    promoted = np.zeros(len(wins), dtype=bool)
    for one in ahead:
        won = draw.binomial(rows, wins[one] / rows, RESAMPLES)
        lost = draw.binomial(rows - won, losses[one] / (rows - wins[one]) if wins[one] < rows else 0.0)
        promoted[one] = (won > lost).mean() >= 0.95
    return promoted
