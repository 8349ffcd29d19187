"""Evidence by betting: wealth that can only grow if the hypothesis is false.

A gambler who starts with 1 and bets on "the mean of these differences is above m" keeps an expected wealth of at most 1
while the mean is at most m. Wealth above 1/alpha therefore happens with probability at most alpha, whenever one looks
(Ville's inequality).

References
----------
Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686, section 4.
Krichevsky & Trofimov, "The performance of universal encoding", 1981 (the bet for outcomes of plus and minus one).
"""

from __future__ import annotations

import math

import numpy as np

from dripstone.core.records import Evidence

MAX_BET = 0.95
"""Share of the wealth that is never exceeded in one bet, so that one surprise cannot ruin the gambler."""


def log_wealth(differences: np.ndarray, bound: float = 0.0) -> float:
    """Log of the wealth after betting on ``mean > bound``.

    Parameters
    ----------
    differences : numpy.ndarray
        [rows] float, each in [-1, 1], in an order that does not depend on their values.
    bound : float
        The largest mean under the hypothesis, in [0, 1).

    Returns
    -------
    float
        0.0 for no rows. Each bet is fixed before its row is seen.

    Examples
    --------
    >>> log_wealth(np.zeros(100))
    0.0
    >>> log_wealth(np.ones(20)) > math.log(1000)
    True
    >>> log_wealth(-np.ones(20))
    0.0
    """
    if len(differences) == 0:
        return 0.0
    if not np.isfinite(differences).all() or np.abs(differences).max() > 1:
        raise ValueError("differences must be finite and within [-1, 1]")
    payoff = np.asarray(differences, dtype=np.float64) - bound
    if bound == 0.0:
        payoff = payoff[payoff != 0.0]
    total = np.concatenate([[0.0], np.cumsum(payoff)[:-1]])
    squares = np.concatenate([[0.0], np.cumsum(payoff**2)[:-1]])
    # The regularising 1 makes this the Krichevsky-Trofimov bet (w - l) / (w + l + 1) when payoffs are +1 and -1.
    bets = np.clip(total / (squares + 1.0), 0.0, MAX_BET / (1.0 + bound))
    return float(np.log1p(bets * payoff).sum())


def level(alpha: float, candidate: int) -> float:
    """The share of ``alpha`` for the ``candidate``-th (from 1) that is put to the test; all shares sum to alpha.

    Examples
    --------
    >>> level(0.05, 1), round(sum(level(0.05, k) for k in range(1, 100_000)), 4)
    (0.025, 0.05)
    """
    return alpha / (candidate * (candidate + 1))


def can_pass(rows: int, alpha_k: float) -> bool:
    """Whether ``rows`` fresh rows, every one of them a win, would be proof. Looks at the count alone.

    Examples
    --------
    >>> can_pass(3, 0.025), can_pass(12, 0.025)
    (False, True)
    """
    return log_wealth(np.ones(rows)) >= math.log(1.0 / alpha_k)


def gain_evidence(differences: np.ndarray, alpha: float, tested: int, holdout: float) -> Evidence:
    """Test a candidate for gain on fresh rows, spending alpha only where the test could pass.

    Parameters
    ----------
    differences : numpy.ndarray
        [rows] candidate's correctness less the champion's: -1, 0 or 1.
    alpha : float
        What a store may spend over its life.
    tested : int
        How many candidates were put to the test before.
    holdout : float
        The share of labelled rows that is held out, to turn held-out rows into labelled ones.

    Examples
    --------
    >>> found = gain_evidence(np.ones(30), alpha=0.05, tested=0, holdout=0.2)
    >>> found.wealth >= found.threshold, found.alpha_spent, found.rows_needed
    (True, 0.025, 0)
    """
    alpha_k = level(alpha, tested + 1)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    possible = can_pass(len(differences), alpha_k)
    log_w = log_wealth(differences)
    proven = possible and log_w >= math.log(1.0 / alpha_k)
    # The rows to come are judged with the next candidate, whose bar is higher if this one has spent its share.
    missing = math.log(1.0 / level(alpha, tested + 1 + int(possible))) - log_w
    return Evidence(
        wealth=math.exp(min(log_w, 700.0)),
        threshold=1.0 / alpha_k,
        discordant=wins + losses,
        rows=len(differences),
        alpha_spent=alpha_k if possible else 0.0,
        rows_needed=0 if proven else _rows_needed(wins, losses, len(differences), missing, holdout),
    )


def _rows_needed(wins: int, losses: int, rows: int, missing: float, holdout: float) -> int | None:
    """Labelled rows until the log wealth has grown by ``missing``, if rows go on as they did; None if it never will.

    A discordant row adds KL(p || 1/2) to the log wealth of whoever knows the share of wins p. The gambler learns p on
    the way, which costs half the log of the number of bets (Krichevsky & Trofimov).
    """
    p = (wins + 0.5) / (wins + losses + 1.0)
    if p <= 0.5 or rows == 0:
        return None
    growth = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    discordant = missing / growth
    discordant += 0.5 * math.log1p(discordant / (wins + losses + 1.0)) / growth
    discordant_rate = (wins + losses + 0.5) / (rows + 1.0)
    return math.ceil(discordant / discordant_rate / holdout)
