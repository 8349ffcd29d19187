"""Does the batch make sense? Labels of known classes should agree with the champion about as well as trusted ones do.

Poisoned batches fall to half or less, honest ones do not; one mislabelled class does so among many that are right. Real
concept drift looks the same, which is why a person can admit what was quarantined. But a batch may have other labels
than the trusted rows, and the champion be better at some than at others: trusted rows count as `like_batch` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SIGNIFICANCE = 0.01
SUSPICION = 0.05
"""Significance where only the rows that contradict are set aside."""

STAND_IN = 5
"""Rows of all labels that stand in for a label's own trusted ones."""

GRID = 400


@dataclass(frozen=True, slots=True)
class Sense:
    """Agreement of some rows and of the trusted ones with the champion, and whether the fall is beyond chance."""

    rows: int
    agreement: float
    trusted: float
    sound: bool


def batch_sense(
    agrees: np.ndarray,
    trusted_agrees: np.ndarray,
    tolerance: float,
    significance: float = SIGNIFICANCE,
    weights: np.ndarray | None = None,
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
    weights : numpy.ndarray, optional
        [trusted] float, what each trusted row counts; the fewer count, the less is known.

    Examples
    --------
    >>> good, bad = np.ones(50, bool), np.zeros(50, bool)
    >>> batch_sense(bad, good, 0.25).sound, batch_sense(good, good, 0.25).sound
    (False, True)
    """
    if len(agrees) == 0 or len(trusted_agrees) == 0:
        return Sense(len(agrees), 1.0, 1.0, sound=True)
    right, rows = effective_rows(trusted_agrees, weights)
    shares, chances = _possible_shares(right, rows)
    tails = [binomial_tail(int(agrees.sum()), len(agrees), share - tolerance) for share in shares]
    improbable = float(chances @ np.array(tails)) <= significance
    return Sense(len(agrees), float(agrees.mean()), right / rows, sound=not improbable)


def like_batch(targets: np.ndarray, trusted_targets: np.ndarray) -> np.ndarray:
    """What each trusted row counts so that together they have the labels of a batch, [trusted] float.

    Of a label with few trusted rows they say little; the others stand in for it, as if five of them were its own.

    Parameters
    ----------
    targets, trusted_targets : numpy.ndarray
        [rows] and [trusted] class indices.

    Examples
    --------
    >>> like_batch(np.array([1, 1, 1, 1]), np.array([0] * 45 + [1] * 5)).round(2)[[0, -1]].tolist()
    [0.01, 0.11]
    """
    if not len(targets) or not len(trusted_targets):
        return np.zeros(len(trusted_targets))
    classes = 1 + int(max(targets.max(), trusted_targets.max()))
    sent, own = (np.bincount(codes, minlength=classes) for codes in (targets, trusted_targets))
    each = sent / len(targets) / (own + STAND_IN)
    return each[trusted_targets] + STAND_IN * each.sum() / len(trusted_targets)


def effective_rows(agrees: np.ndarray, weights: np.ndarray | None) -> tuple[float, float]:
    """How many of how many rows without weights say as much: right ones, and all (Kish 1965)."""
    if weights is None or not weights.any():
        return float(agrees.sum()), float(len(agrees))
    rows = float(weights.sum()) ** 2 / float((weights**2).sum())
    return rows * float(weights @ agrees / weights.sum()), rows


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


def exceeds_chance(agrees: np.ndarray, trusted_agrees: np.ndarray, weights: np.ndarray | None = None) -> bool:
    """Whether rows contradict the champion more often than the trusted rows do, beyond chance (one-sided, 0.05).

    Examples
    --------
    >>> trusted = np.arange(400) < 390
    >>> exceeds_chance(np.arange(300) < 262, trusted), exceeds_chance(np.arange(300) < 292, trusted)
    (True, False)
    """
    return not batch_sense(agrees, trusted_agrees, 0.0, SUSPICION, weights).sound


def _possible_shares(right: float, trusted: float) -> tuple[np.ndarray, np.ndarray]:
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
