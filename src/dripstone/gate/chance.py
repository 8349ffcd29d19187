"""How far a mean of paired differences is from what chance alone would give."""

from __future__ import annotations

import math

import numpy as np

from dripstone.gate.evidence import relative_weights


def lead(gains: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The weighted mean in units of its standard error, were the true one zero; 0.0 where nothing differs.

    One row that got better and none that got worse are a lead of 1, four of them one of 2.

    Parameters
    ----------
    gains : numpy.ndarray
        [rows] one score less the other.
    weights : numpy.ndarray, optional
        [rows], not negative.

    Examples
    --------
    >>> lead(np.array([1, 1, 1, 1, 0])), lead(np.array([1, -1, 0])), lead(np.zeros(3))
    (2.0, 0.0, 0.0)
    """
    relative = relative_weights(weights)
    heavy = np.ones(len(gains)) if relative is None else relative
    if not heavy.sum():
        return 0.0
    # Rows of unlike weight tell less: their number is that of as many equal ones (Kish).
    each = float(np.square(heavy).sum() / heavy.sum())
    spread = math.sqrt(each * float(heavy @ np.square(gains, dtype=np.float64)))
    return float(heavy @ gains) / spread if spread else 0.0
