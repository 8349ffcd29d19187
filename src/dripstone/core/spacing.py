"""Places that are evenly spaced over many rows, for whoever looks at some of them."""

from __future__ import annotations

import numpy as np


def spaced(rows: int, most: int) -> np.ndarray:
    """Indices of at most so many of the rows, evenly spaced, [chosen] int64.

    Examples
    --------
    >>> spaced(10, 4).tolist(), spaced(2, 4).tolist(), spaced(0, 4).tolist()
    ([0, 2, 5, 7], [0, 1], [])
    """
    looked_at = min(rows, most)
    return np.arange(looked_at, dtype=np.int64) * rows // max(looked_at, 1)
