"""Doubt: wrong rows that come a few at a time, each too few to make no sense, add up over updates.

A gambler bets that rows contradict the champion more often than is tolerated. Whenever the wealth is below its start,
another one begins anew, so that a long honest past does not pay for a wrong present: a CUSUM over batches. On rows that
contradict just as often as is tolerated, the bar of 100 is reached once in at least 100 batches on average; honest rows
contradict far less, and practically never reach it.

References
----------
Shin, Ramdas & Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", arXiv 2203.03532,
section 2 (the e-CUSUM).
"""

from __future__ import annotations

import math

import numpy as np

from dripstone.gate.sense import SIGNIFICANCE, effective_rows

MIN_TRUSTED = 20
BAR = math.log(1 / SIGNIFICANCE)


def raise_doubt(
    doubt: float,
    agrees: np.ndarray,
    trusted_agrees: np.ndarray,
    tolerance: float,
    weights: np.ndarray | None = None,
) -> tuple[float, bool]:
    """The doubt after a batch, and whether it is beyond reasonable.

    Parameters
    ----------
    doubt : float
        Log of the wealth before it, 0 to log(100).
    agrees : numpy.ndarray
        [rows] bool: the champion gives the batch's label; rows of known labels only.
    trusted_agrees : numpy.ndarray
        [trusted] bool; fewer than 20 rows say too little.
    tolerance : float
        Tolerated fall of the agreement, as a share; less of it where the weighted rows are right less often than all.
    weights : numpy.ndarray, optional
        [trusted] float, what each trusted row counts.

    Examples
    --------
    >>> trusted, wrong = np.arange(100) < 97, np.zeros(1, bool)
    >>> doubt, certain = 0.0, False
    >>> for number in range(1, 30):
    ...     doubt, certain = raise_doubt(doubt, wrong, trusted, 0.25)
    ...     if certain:
    ...         break
    >>> number
    6
    >>> raise_doubt(doubt, np.ones(20, bool), trusted, 0.25)
    (0.0, False)
    """
    if len(trusted_agrees) < MIN_TRUSTED or len(agrees) == 0:
        return doubt, False
    right, rows = effective_rows(trusted_agrees, weights)
    expected = (right + 1) / (rows + 2)
    # Less of the fall where the champion is bad at the labels: from one answer in five, 25 points would leave nothing.
    fall = tolerance * min(right / rows / max(trusted_agrees.mean(), 1 / len(trusted_agrees)), 1.0)
    tolerated = 1 - (expected - fall)
    if tolerated >= 1:
        return doubt, False
    feared = (1 + tolerated) / 2
    wrong = int((~agrees).sum())
    gain = wrong * math.log(feared / tolerated) + (len(agrees) - wrong) * math.log((1 - feared) / (1 - tolerated))
    wealth = max(doubt, 0.0) + gain
    return min(max(wealth, 0.0), BAR), wealth >= BAR
