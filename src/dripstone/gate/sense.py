"""Does the batch make sense? Labels of known classes should agree with the champion about as well as trusted ones do.

Poisoned batches fall to half or less, honest ones do not; one mislabelled class does so among many that are right. Real
concept drift looks the same, which is why a person can admit what was quarantined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIGNIFICANCE = 0.01
SUSPICION = 0.05
"""Significance where only the rows that contradict are set aside."""

GRID = 400


@dataclass(frozen=True, slots=True)
class Sense:
    """Agreement of some rows and of the trusted ones with the champion, and whether the fall is beyond chance."""

    rows: int
    agreement: float
    trusted: float
    sound: bool


def batch_sense(
    agrees: np.ndarray, trusted_agrees: np.ndarray, tolerance: float, significance: float = SIGNIFICANCE
) -> Sense:
    """Compare agreements one-sidedly: is the batch's shown to be below the trusted one less ``tolerance``?

    A few trusted rows say little about how often the champion is right, so the chance of an agreement this low is
    averaged over what they leave possible (a posterior predictive p-value, uniform prior). One trusted row refuses
    nothing; hundreds are as good as a known share.

    Parameters
    ----------
    agrees : numpy.ndarray
        [rows] bool: the champion gives the batch's label; rows of known classes only.
    trusted_agrees : numpy.ndarray
        [trusted] bool: the champion is right on a trusted row.
    tolerance : float
        Tolerated fall, as a share.
    significance : float
        Chance that rows which have fallen just as far as is tolerated are called unsound.

    Examples
    --------
    >>> good, bad = np.ones(50, bool), np.zeros(50, bool)
    >>> batch_sense(bad, good, 0.25).sound, batch_sense(good, good, 0.25).sound
    (False, True)
    """
    if len(agrees) == 0 or len(trusted_agrees) == 0:
        return Sense(len(agrees), 1.0, 1.0, sound=True)
    shares, weights = _possible_shares(int(trusted_agrees.sum()), len(trusted_agrees))
    tails = [binomial_tail(int(agrees.sum()), len(agrees), share - tolerance) for share in shares]
    improbable = float(weights @ np.array(tails)) <= significance
    return Sense(len(agrees), float(agrees.mean()), float(trusted_agrees.mean()), sound=not improbable)


def class_sense(
    targets: np.ndarray, agrees: np.ndarray, trusted_targets: np.ndarray, trusted_agrees: np.ndarray, tolerance: float
) -> dict[int, Sense]:
    """Classes whose own rows contradict the champion far more often than the trusted rows of the class do.

    Parameters
    ----------
    targets, agrees : numpy.ndarray
        [rows] class indices and bool, of the batch's rows of known classes.
    trusted_targets, trusted_agrees : numpy.ndarray
        [trusted] the same of the trusted rows.
    tolerance : float
        Tolerated fall, as a share. The significance is shared among the classes of the batch.

    Examples
    --------
    >>> targets, trusted = np.repeat([0, 1], 30), np.repeat([0, 1], 50)
    >>> found = class_sense(targets, targets == 0, trusted, np.ones(100, bool), 0.25)
    >>> {code: (sense.rows, sense.agreement) for code, sense in found.items()}
    {1: (30, 0.0)}
    """
    classes = np.unique(targets)
    found = {}
    for code in classes:
        mine, theirs = agrees[targets == code], trusted_agrees[trusted_targets == code]
        # The test can only be significant where the fall itself is larger than is tolerated.
        if len(theirs) and mine.mean() < theirs.mean() - tolerance:
            sense = batch_sense(mine, theirs, tolerance, SIGNIFICANCE / len(classes))
            if not sense.sound:
                found[int(code)] = sense
    return found


def exceeds_chance(agrees: np.ndarray, trusted_agrees: np.ndarray) -> bool:
    """Whether rows contradict the champion more often than the trusted rows do, beyond chance (one-sided, 0.05).

    Examples
    --------
    >>> trusted = np.arange(400) < 390
    >>> exceeds_chance(np.arange(300) < 262, trusted), exceeds_chance(np.arange(300) < 292, trusted)
    (True, False)
    """
    return not batch_sense(agrees, trusted_agrees, 0.0, SUSPICION).sound


def _possible_shares(right: int, trusted: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of right answers that the trusted rows leave possible, and the posterior weight of each."""
    shares = (np.arange(GRID) + 0.5) / GRID
    logs = right * np.log(shares) + (trusted - right) * np.log1p(-shares)
    weights = np.exp(logs - logs.max())
    kept = weights > 1e-9
    return shares[kept], weights[kept] / weights[kept].sum()


def binomial_tail(successes: int, trials: int, p: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, p)."""
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 1.0 if successes == trials else 0.0
    k = np.arange(successes + 1)
    steps = np.log((trials - k[:-1]) / (k[:-1] + 1.0)) + math.log(p / (1 - p))
    logs = trials * math.log1p(-p) + np.concatenate([[0.0], np.cumsum(steps)])
    return float(np.exp(np.logaddexp.reduce(logs)))
