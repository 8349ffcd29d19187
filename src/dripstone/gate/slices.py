"""Slices: named subsets of the held-out rows, one a class and one a value of the slice column."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Rows parted by one column: ``codes`` [rows] number the ``names``; -1 for a row that is in none of them."""

    names: list[str]
    codes: np.ndarray

    def select(self, rows: np.ndarray) -> Partition:
        """The same names on some rows."""
        return Partition(self.names, self.codes[rows])


def part_rows(kind: str, values: Sequence[Hashable | None]) -> Partition:
    """Part rows by a value; None is no value. Names stand in the order in which they first come.

    Examples
    --------
    >>> parted = part_rows("slice", ["eu", None, "us", "eu"])
    >>> parted.names, parted.codes
    (['slice eu', 'slice us'], array([ 0, -1,  1,  0]))
    """
    known: dict[Hashable, int] = {}
    codes = np.array([-1 if value is None else known.setdefault(value, len(known)) for value in values], dtype=np.int64)
    return Partition([f"{kind} {name}" for name in known], codes)


def slice_means(values: np.ndarray, weights: np.ndarray | None, partitions: Sequence[Partition]) -> dict[str, float]:
    """Mean of a value, by slice; slices without a row, or without weight, are left out.

    Examples
    --------
    >>> slice_means(np.array([1, 0, 1]), None, [part_rows("class", ["a", "a", "b"])])
    {'class a': 0.5, 'class b': 1.0}
    """
    means: dict[str, float] = {}
    for parted in partitions:
        inside = parted.codes >= 0
        codes = parted.codes[inside]
        heavy = np.ones(len(codes)) if weights is None else weights[inside]
        total = np.bincount(codes, weights=heavy, minlength=len(parted.names))
        summed = np.bincount(codes, weights=heavy * values[inside], minlength=len(parted.names))
        means |= {parted.names[code]: float(summed[code] / total[code]) for code in np.flatnonzero(total > 0)}
    return means
