"""Sketches of arrays: random projections, which keep distances, and grids of them in which near rows share a cell.

References
----------
Johnson and Lindenstrauss, "Extensions of Lipschitz Mappings into a Hilbert Space", 1984. Datar et al., "Locality-
Sensitive Hashing Scheme Based on p-Stable Distributions", SCG 2004 (the grids).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dripstone.core.records import Schema

NUMBERS = 16
"""Numbers of a sketch. A distance is kept within about a fifth."""

CELL = 2.0
"""Side of a grid's cells, in units of the distance that is near. Of two rows that near, one of six grids has both in
one cell 999 times in 1,000."""

_PRIMES = (73_856_093, 19_349_663, 83_492_791)

GRIDS = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14), (15, 0, 4))
"""The numbers of a sketch that make each grid."""

LOOKED_AT = 500


def sketch_arrays(arrays: Sequence[np.ndarray], schema: Schema) -> np.ndarray:
    """[rows, 16] float32: projections of the values, each in units of what its column spans in the first stage.

    The length of a sketch is about the root of the mean squared value.
    """
    values = np.stack([array.reshape(-1) for array in arrays]).astype(np.float64)
    low, high = np.array(schema.low), np.array(schema.high)
    width = high - low
    varied = width[width > 0]
    width = np.where(width > 0, width, np.median(varied) if len(varied) else 1.0)
    values = ((values - low) / width).astype(np.float32)
    projection = np.random.default_rng(0).standard_normal((values.shape[1], NUMBERS)).astype(np.float32)
    return values @ (projection / np.sqrt(NUMBERS * values.shape[1], dtype=np.float32))


def usual_distance(sketches: np.ndarray) -> float:
    """The median distance of a row to the nearest other one, among 500 of them; 0 for fewer than two."""
    some = sketches[:: max(1, len(sketches) // LOOKED_AT)][:LOOKED_AT].astype(np.float64)
    if len(some) < 2:
        return 0.0
    squares = (some**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * some @ some.T
    np.fill_diagonal(distances, np.inf)
    return float(np.median(np.sqrt(distances.min(axis=1).clip(min=0.0))))


def array_buckets(sketches: np.ndarray, near: float) -> np.ndarray:
    """[rows, 6] int64, the cell in each grid: rows that share none are hardly as near as ``near``."""
    if near == 0:
        return np.zeros((len(sketches), 0), dtype=np.int64)
    offsets = np.random.default_rng(1).random(NUMBERS)
    cells = np.floor(sketches / (CELL * near) + offsets).astype(np.int64)
    with np.errstate(over="ignore"):
        mixed = [cells[:, grid] @ np.array(_PRIMES) for grid in GRIDS]
    return np.stack(mixed, axis=1)


def are_arrays_near(one: np.ndarray, other: np.ndarray, near: float) -> np.ndarray:
    """Whether rows are at most so far apart, [pairs] bool; of [pairs, 16] each."""
    return np.linalg.norm(one - other, axis=1) <= near
