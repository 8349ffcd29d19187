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
from dripstone.core.spacing import spaced

NUMBERS = 16
"""Numbers of a sketch. A distance is kept within about a fifth."""

CELL = 2.0
"""Side of a grid's cells, in units of the distance that is near. Of two rows that near, one of six grids has both in
one cell 999 times in 1,000."""

FARTHEST_CELL = 2.0**32
"""Cells of a grid in each direction; what lies beyond is in the last one. Their numbers, mixed, fit an int64."""

_PRIMES = (73_856_093, 19_349_663, 83_492_791)

GRIDS = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14), (15, 0, 4))
"""The numbers of a sketch that make each grid."""

LOOKED_AT = 500
"""Rows whose nearest other one is looked for."""

AMONG = 10_000
"""Rows among which it is."""

FARTHEST = 1e6
"""Widths of a column, beyond which all numbers are alike: a sketch in float32 could not tell them apart."""

AT_ONCE = 256
"""Arrays that are sketched together, so that large ones are not all there twice."""


def sketch_arrays(arrays: Sequence[np.ndarray], schema: Schema) -> np.ndarray:
    """[rows, 16] float32: projections of the values, each in units of what its column spans in the first stage.

    The length of a sketch is about the root of the mean squared value.
    """
    low, high = np.array(schema.low), np.array(schema.high)
    width = high - low
    varied = width[width > 0]
    width = np.where(width > 0, width, np.median(varied) if len(varied) else 1.0)
    columns = arrays[0].size
    projection = np.random.default_rng(0).standard_normal((columns, NUMBERS)).astype(np.float32)
    projection /= np.sqrt(NUMBERS * columns, dtype=np.float32)
    sketches = np.empty((len(arrays), NUMBERS), dtype=np.float32)
    for start in range(0, len(arrays), AT_ONCE):
        values = np.stack([array.reshape(-1) for array in arrays[start : start + AT_ONCE]]).astype(np.float64)
        scaled = ((values - low) / width).clip(-FARTHEST, FARTHEST).astype(np.float32)
        sketches[start : start + AT_ONCE] = scaled @ projection
    return sketches


def usual_distance(sketches: np.ndarray) -> float:
    """The median distance of a row to the nearest other one; 0 for fewer than two rows.

    Of 500 rows among 10,000, evenly spread over all: fewer would lie farther apart than all of them do.
    """
    if len(sketches) < 2:
        return 0.0
    others = sketches[spaced(len(sketches), AMONG)].astype(np.float64)
    places = spaced(len(others), LOOKED_AT)
    some = others[places]
    squares = (others**2).sum(axis=1) - 2 * some @ others.T  # of the distances, but for what each row has in all
    squares[np.arange(len(some)), places] = np.inf
    # By their difference, which is 0 between equal rows; by squares it would be nearly 0.
    return float(np.median(np.linalg.norm(some - others[squares.argmin(axis=1)], axis=1)))


def array_buckets(sketches: np.ndarray, near: float) -> np.ndarray:
    """[rows, 6] int64, the cell in each grid: rows that share none are hardly as near as ``near``."""
    if near == 0:
        return np.zeros((len(sketches), 0), dtype=np.int64)
    offsets = np.random.default_rng(1).random(NUMBERS)
    cells = np.floor(sketches.astype(np.float64) / (CELL * near) + offsets)
    cells = cells.clip(-FARTHEST_CELL, FARTHEST_CELL).astype(np.int64)
    return np.stack([cells[:, grid] @ np.array(_PRIMES) for grid in GRIDS], axis=1)


def are_arrays_near(one: np.ndarray, other: np.ndarray, near: float) -> np.ndarray:
    """Whether rows are at most so far apart, [pairs] bool; of [pairs, 16] each, or one."""
    return np.linalg.norm(one - other, axis=1) <= near
