"""Does the batch make sense? Labels of known classes should agree with the champion about as well as trusted ones do.

Poisoned batches fall to half or less, honest ones do not. Real concept drift looks the same, which is why a person can
admit a quarantined batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIGNIFICANCE = 0.01
GRID = 400
MIN_HELD_OUT = 20


@dataclass(frozen=True, slots=True)
class Sense:
    """Agreement of a batch and of the trusted rows with the champion, and whether the fall is beyond chance."""

    rows: int
    agreement: float
    trusted: float
    sound: bool


def batch_sense(agrees: np.ndarray, trusted_agrees: np.ndarray, tolerance: float) -> Sense:
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

    Examples
    --------
    >>> good, bad = np.ones(50, bool), np.zeros(50, bool)
    >>> batch_sense(bad, good, 0.25).sound, batch_sense(good, good, 0.25).sound
    (False, True)
    """
    if len(agrees) == 0 or len(trusted_agrees) == 0:
        return Sense(len(agrees), 1.0, 1.0, sound=True)
    shares, weights = _possible_shares(int(trusted_agrees.sum()), len(trusted_agrees))
    tails = [_binomial_tail(int(agrees.sum()), len(agrees), share - tolerance) for share in shares]
    improbable = float(weights @ np.array(tails)) <= SIGNIFICANCE
    return Sense(len(agrees), float(agrees.mean()), float(trusted_agrees.mean()), sound=not improbable)


def _possible_shares(right: int, trusted: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of right answers that the trusted rows leave possible, and the posterior weight of each."""
    shares = (np.arange(GRID) + 0.5) / GRID
    logs = right * np.log(shares) + (trusted - right) * np.log1p(-shares)
    weights = np.exp(logs - logs.max())
    kept = weights > 1e-9
    return shares[kept], weights[kept] / weights[kept].sum()


def _binomial_tail(successes: int, trials: int, p: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, p)."""
    if p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 1.0 if successes == trials else 0.0
    k = np.arange(successes + 1)
    steps = np.log((trials - k[:-1]) / (k[:-1] + 1.0)) + math.log(p / (1 - p))
    logs = trials * math.log1p(-p) + np.concatenate([[0.0], np.cumsum(steps)])
    return float(np.exp(np.logaddexp.reduce(logs)))


def unlearned_labels(targets: np.ndarray, right: np.ndarray, known: int) -> list[int]:
    """New classes that the candidate does not get right on half of their 20 or more held-out rows.

    Parameters
    ----------
    targets : numpy.ndarray
        [rows] class indices of fresh rows.
    right : numpy.ndarray
        [rows] bool: the candidate's answer is the target.
    known : int
        How many classes the champion knows; higher indices are new.

    Examples
    --------
    >>> unlearned_labels(np.full(20, 3), np.zeros(20, bool), known=3)
    [3]
    """
    new = np.unique(targets[targets >= known])
    return [
        int(label) for label in new if (targets == label).sum() >= MIN_HELD_OUT and right[targets == label].mean() < 0.5
    ]
