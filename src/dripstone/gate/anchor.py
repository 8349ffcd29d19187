"""The anchor: the best version so far, pinned, so that many small losses cannot add up unseen.

A new champion becomes the anchor only when it is ahead by more than chance explains. Moving it at every small step up
would follow the noise of rows that are used again and again.

References
----------
Blum & Hardt, "The Ladder: a reliable leaderboard for machine learning competitions", arXiv 1502.04585, figure 2 (the
parameter-free Ladder: a new best counts if it leads by more than the standard error of the paired differences; by two
of them here, since one row that got better and none that got worse are one already).
"""

from __future__ import annotations

import math

import numpy as np

from dripstone.gate.evidence import relative_weights

STANDARD_ERRORS = 2.0


def is_new_best(gains: np.ndarray, restricted_gain: float | None, weights: np.ndarray | None = None) -> bool:
    """Whether a promoted candidate takes the anchor's place.

    Parameters
    ----------
    gains : numpy.ndarray
        [rows] the candidate's score less the anchor's, on trusted and fresh rows; a label that the anchor does not know
        counts as wrong.
    restricted_gain : float or None
        Its mean on the rows of labels that both know, restricted to those labels, None where there are none: what was
        gained on new labels must not pay for old ones.
    weights : numpy.ndarray, optional
        [rows], not negative.

    Examples
    --------
    >>> ahead, hardly = np.repeat([1.0, 0.0], [9, 91]), np.repeat([1.0, 0.0], [1, 99])
    >>> is_new_best(ahead, 0.09), is_new_best(hardly, 0.01), is_new_best(ahead, -0.01)
    (True, False, False)
    """
    if len(gains) == 0 or (restricted_gain is not None and restricted_gain < 0):
        return False
    relative = relative_weights(weights)
    heavy = np.ones(len(gains)) if relative is None else relative
    if not heavy.sum():
        return False
    mean = float(np.average(gains, weights=heavy))
    deviation = math.sqrt(float(np.average((gains - mean) ** 2, weights=heavy)))
    # Rows of unlike weight tell less: their number is that of as many equal ones (Kish).
    rows = float(heavy.sum() ** 2 / (heavy**2).sum())
    return mean > STANDARD_ERRORS * deviation / math.sqrt(rows)
