"""Evidence by betting: wealth that can only grow if the hypothesis is false.

Gamblers who start with 1 and bet on "the mean of these differences is above m" keep an expected wealth of at most 1
while the mean is at most m. Wealth above 1/alpha therefore happens with probability at most alpha, however often one
looks (Ville's inequality).

Each of a few gamblers bets the same share of what it has on every row, and their mean wealth counts (a mixture over a
grid of bets): no bet looks at its own row, the final wealth does not depend on the order of the rows, and what is lost
against the best of them in hindsight is a factor of their number, however long the stream.

Weighted rows: the hypothesis is that the weighted mean, for the weights that the rows have, is at most m. The expected
final wealth of one gambler is the product of 1 + bet w_i (mu_i - m), at most the exponential of the sum, and so at most
1. The wealth on the way has no such bound, since the first rows may weigh more than the last, so that only the final
one counts.

References
----------
Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686, section 4.2 (the
capital process) and appendix B.7 (diversified Kelly betting, a mean over a grid of bets).
"""

from __future__ import annotations

import math

import numpy as np

from dripstone.core.records import Evidence

BETS = np.array([0.95, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32])
"""Shares of the wealth that are bet. The best one is about mean over variance of the differences. The grid reaches from
sure wins to one in 32, a factor of two apart, so that a best one between two of them costs at most a ninth of the
growth."""

_LARGEST = 700.0
_STEPS = 20


def log_factors(differences: np.ndarray, weights: np.ndarray | None = None, bound: float = 0.0) -> np.ndarray:
    """Log of the factor by which each row multiplies the wealth of each gambler who bets on ``mean > bound``.

    Parameters
    ----------
    differences : numpy.ndarray
        [rows] in [-1, 1]: whole numbers (paired 0/1 outcomes) or real ones (a bounded metric).
    weights : numpy.ndarray, optional
        [rows] in [0, 1], fixed without looking at the differences; the hypothesis is then about the weighted mean.
    bound : float
        The largest mean under the hypothesis, in [0, 1).

    Returns
    -------
    numpy.ndarray
        [rows, bets] float64.

    Raises
    ------
    ValueError
        If a difference or weight is out of its bounds, or no number.
    """
    if len(differences) and (not np.isfinite(differences).all() or np.abs(differences).max() > 1):
        raise ValueError("differences must be finite and within [-1, 1]")
    bets = BETS / (1.0 + bound)
    if weights is not None:
        if len(weights) and not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1):
            raise ValueError("weights must be finite and within [0, 1]")
        return np.log1p((weights * (differences - bound))[:, None] * bets)
    if differences.dtype.kind in "ib":
        table = np.log1p((np.array([-1, 0, 1]) - bound)[:, None] * bets)
        return table[differences.astype(np.intp) + 1]
    return np.log1p((differences - bound)[:, None] * bets)


def log_mean(log_wealths: np.ndarray) -> np.ndarray:
    """Log of the mean wealth of the gamblers, over the last axis, from the logs of their wealths."""
    return np.logaddexp.reduce(log_wealths, axis=-1) - math.log(log_wealths.shape[-1])


def log_wealth(differences: np.ndarray, weights: np.ndarray | None = None, bound: float = 0.0) -> float:
    """Log of the wealth after all rows; takes what `log_factors` does.

    Examples
    --------
    >>> log_wealth(np.zeros(100))
    0.0
    >>> log_wealth(np.ones(20)) > math.log(1000), log_wealth(-np.ones(20)) < 0
    (True, True)
    """
    return float(log_mean(log_factors(differences, weights, bound).sum(axis=0)))


def highest_log_wealth(differences: np.ndarray, bound: float = 0.0) -> float:
    """Log of the highest wealth that was reached while the rows were read in order; at least 0.0, the start.

    Ville's inequality holds for the highest wealth, so that a proof, once found, is not lost to the rows after it. The
    order must not depend on the differences.
    """
    if bound == 0.0:
        differences = differences[differences != 0]
    path = log_mean(np.cumsum(log_factors(differences, bound=bound), axis=0))
    return max(0.0, float(path.max(initial=0.0)))


def relative_weights(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights as shares of the largest, which is what a bet may rest on; None where all are the same.

    Examples
    --------
    >>> relative_weights(np.array([0.5, 0.25])), relative_weights(np.array([0.5, 0.5]))
    (array([1. , 0.5]), None)
    """
    if weights is None or len(weights) == 0 or (weights[0] > 0 and (weights == weights[0]).all()):
        return None
    return weights / (weights.max() or 1.0)


def _reached(differences: np.ndarray, weights: np.ndarray | None, bound: float) -> float:
    """Log of the wealth that counts as evidence."""
    if weights is None:
        return highest_log_wealth(differences, bound=bound)
    return max(0.0, log_wealth(differences, weights, bound))


def level(alpha: float, candidate: int) -> float:
    """The share of ``alpha`` for the ``candidate``-th (from 1) that is put to the test; all shares sum to alpha.

    Examples
    --------
    >>> level(0.05, 1), round(sum(level(0.05, k) for k in range(1, 100_000)), 4)
    (0.025, 0.05)
    """
    return alpha / (candidate * (candidate + 1))


def can_pass(rows: int, alpha_k: float, weights: np.ndarray | None = None) -> bool:
    """Whether ``rows`` rows, every one of them a win, would be proof. Looks at their number and weights alone.

    Examples
    --------
    >>> can_pass(3, 0.025), can_pass(12, 0.025)
    (False, True)
    """
    return log_wealth(np.ones(rows, dtype=np.int64), weights) >= math.log(1.0 / alpha_k)


def gain_evidence(
    differences: np.ndarray, alpha: float, tested: int, holdout: float, weights: np.ndarray | None = None
) -> Evidence:
    """Test a candidate for gain on fresh rows, spending alpha only where the test could pass.

    Parameters
    ----------
    differences : numpy.ndarray
        [rows] the candidate's metric less the champion's, in the order in which the rows came.
    alpha : float
        What a store may spend over its life.
    tested : int
        How many candidates were put to the test before.
    holdout : float
        The share of labelled rows that is held out, to turn held-out rows into labelled ones.
    weights : numpy.ndarray, optional
        [rows], not negative.

    Examples
    --------
    >>> found = gain_evidence(np.ones(30), alpha=0.05, tested=0, holdout=0.2)
    >>> found.wealth >= found.threshold, found.alpha_spent, found.rows_needed
    (True, 0.025, 0)
    >>> found.gain_at_least > 0.5
    True
    """
    alpha_k = level(alpha, tested + 1)
    bar = math.log(1.0 / alpha_k)
    weights = relative_weights(weights)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    possible = can_pass(len(differences), alpha_k, weights)
    reached = _reached(differences, weights, 0.0)
    proven = possible and reached >= bar
    # The rows to come are judged with the next candidate, whose bar is higher if this one has spent its share.
    next_bar = math.log(1.0 / level(alpha, tested + 1 + int(possible)))
    return Evidence(
        wealth=math.exp(min(reached, _LARGEST)),
        threshold=1.0 / alpha_k,
        discordant=wins + losses,
        wins=wins,
        losses=losses,
        rows=len(differences),
        alpha_spent=alpha_k if possible else 0.0,
        rows_needed=0 if proven else _rows_needed(differences, weights, next_bar, holdout),
        gain_at_least=_lower_bound(differences, weights, bar) if proven else 0.0,
    )


def _lower_bound(differences: np.ndarray, weights: np.ndarray | None, bar: float) -> float:
    """The largest mean that the rows rule out: the lower end of the confidence sequence, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _reached(differences, weights, middle) >= bar:
            low = middle
        else:
            high = middle
    return low


def _rows_needed(differences: np.ndarray, weights: np.ndarray | None, bar: float, holdout: float) -> int | None:
    """Labelled rows until the wealth reaches the bar, if rows go on as they did; None if it never will.

    In the long run the wealth is that of the best gambler, divided among them all. Half a win and half a loss stand in
    for what few rows do not show (Krichevsky & Trofimov).
    """
    rows = len(differences)
    if rows == 0:
        return None
    unseen = (np.log1p(BETS) + np.log1p(-BETS)) / 2
    growth = float((log_factors(differences, weights).sum(axis=0) + unseen).max()) / (rows + 1)
    if growth <= 0:
        return None
    needed = (bar + math.log(len(BETS))) / growth
    return math.ceil(max(needed - rows, 1.0) / holdout)
