"""At which row a proof is found, by the gate's own evidence."""

from __future__ import annotations

import math

import numpy as np

from bench.gate.truth import CANDIDATE, LIVE, right
from dripstone.gate.evidence import log_factors, log_mean


def first_reach(signs: np.ndarray, threshold: float) -> int | None:
    """How many differing rows (+1 or -1 each, in order) it takes until the wealth reaches the threshold, if it does.

    Examples
    --------
    >>> first_reach(np.ones(30, dtype=np.int64), 40.0), first_reach(-np.ones(30, dtype=np.int64), 40.0)
    (8, None)
    """
    path = log_mean(np.cumsum(log_factors(signs), axis=0))
    reached = np.flatnonzero(path >= math.log(threshold))
    return int(reached[0]) + 1 if len(reached) else None


def rows_to_proof(fresh: np.ndarray, threshold: float) -> int:
    """Differing rows until the proof, of a candidate whose fresh rows prove a gain."""
    signs = right(fresh, CANDIDATE).astype(np.int8) - right(fresh, LIVE)
    found = first_reach(signs[signs != 0], threshold)
    assert found is not None
    return found
