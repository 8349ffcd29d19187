"""Limits that a user may set besides: negative flips, calibration, latency. What does not keep them waits.

References
----------
Yan et al., "Positive-congruent training", arXiv 2011.09161 (negative flips). Guo et al., "On calibration of modern
neural networks", arXiv 1706.04599, equation 3 (expected calibration error).
"""

from __future__ import annotations

import math

import numpy as np

from dripstone.core.config import Limits
from dripstone.core.records import Flips, MetricsPair
from dripstone.gate.metrics import TOKEN_GAIN_CLIP

BINS = 15


def count_flips(champion_right: np.ndarray, candidate_right: np.ndarray) -> Flips:
    """Answers that turned from right to wrong, and from wrong to right.

    Examples
    --------
    >>> count_flips(np.array([True, True, False]), np.array([True, False, True]))
    Flips(negative=1, positive=1, rows=3)
    """
    return Flips(
        negative=int((champion_right & ~candidate_right).sum()),
        positive=int((candidate_right & ~champion_right).sum()),
        rows=len(champion_right),
    )


def count_changes(gains: np.ndarray) -> Flips:
    """Texts whose perplexity rose or fell by 2 % or more, of [rows] gains in the token loss.

    Examples
    --------
    >>> count_changes(np.array([0.1, -0.01, 0.0005]))
    Flips(negative=0, positive=1, rows=3)
    """
    step = math.log(1.02) / TOKEN_GAIN_CLIP
    return Flips(int((gains <= -step).sum()), int((gains >= step).sum()), len(gains))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float | None:
    """Expected calibration error: the mean gap between confidence and accuracy, over 15 bins of equal width.

    Parameters
    ----------
    confidence : numpy.ndarray
        [rows] probability of the answer that was given.
    right : numpy.ndarray
        [rows] bool.

    Returns
    -------
    float or None
        From 0 to 1; None without a row.

    Examples
    --------
    >>> calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False]))
    0.0
    """
    if len(confidence) == 0:
        return None
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def exceeded(limits: Limits, flips: Flips, metrics: MetricsPair) -> list[str]:
    """A clause for each limit that the candidate does not keep.

    Examples
    --------
    >>> exceeded(Limits(negative_flips=0.02), Flips(negative=5, positive=9, rows=100), MetricsPair())
    ['5 of 100 held-out rows turned from right to wrong, more than the 2 % of gate.limits']
    """
    found = []
    if limits.negative_flips is not None and flips.negative > limits.negative_flips * flips.rows:
        found.append(
            f"{flips.negative} of {flips.rows} held-out rows turned from right to wrong, "
            f"more than the {limits.negative_flips * 100:g} % of gate.limits"
        )
    error = metrics.candidate.calibration_error
    if limits.calibration_error is not None and error is not None and error > limits.calibration_error:
        found.append(f"the calibration error is {error:.3f}, above the {limits.calibration_error:g} of gate.limits")
    old, new = metrics.champion.latency_ms, metrics.candidate.latency_ms
    if limits.latency_ratio is not None and old and new and new > limits.latency_ratio * old:
        found.append(
            f"a row takes {new:.2f} ms where the live version takes {old:.2f}, "
            f"more than the {limits.latency_ratio:g} times of gate.limits"
        )
    return found
