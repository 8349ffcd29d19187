"""Moments of columns: what scaling has to know of rows that are not kept, in whatever portions they come.

References
----------
Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37(3), 1983. Pébay,
"Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order Statistical Moments", Sandia
report SAND2008-6212, equations 2.1 and 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.tensors import RawTensor


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean of each column, and the sums of the second, third and fourth powers of the distances to it.

    Parameters
    ----------
    rows : int
        How many there were.
    mean : numpy.ndarray
        [columns] float64.
    powers : numpy.ndarray
        [3, columns] float64.

    Examples
    --------
    >>> moments = moments_of(np.array([[0.0, 7.0], [2.0, 7.0]]))
    >>> moments.rows, moments.mean.tolist(), moments.deviation().tolist(), moments.support().tolist()
    (2, [1.0, 7.0], [1.0, 0.0], [2.0, 0.0])
    """

    rows: int
    mean: np.ndarray
    powers: np.ndarray

    def deviation(self) -> np.ndarray:
        """[columns] standard deviations; 0 for no rows."""
        return np.sqrt(self.powers[0] / max(self.rows, 1))

    def support(self) -> np.ndarray:
        """How many rows each column's deviation rests on, [columns]: Kish's effective number, by squared distances.

        A third of the rows for a normal column, two where a single pair decides, one for a pixel that has ink in one
        row, 0 for a column that does not vary.
        """
        second, fourth = self.powers[0], self.powers[2]
        return np.divide(second**2, fourth, out=np.zeros_like(second), where=fourth > 0)

    def to_raw(self) -> dict[str, RawTensor]:
        """Tensors to store."""
        return {
            "rows": to_raw(torch.tensor([self.rows])),
            "mean": to_raw(torch.from_numpy(self.mean)),
            "powers": to_raw(torch.from_numpy(self.powers)),
        }


def moments_of(values: np.ndarray) -> Moments:
    """Moments of [rows, columns] numbers, which have to be finite; all 0 for no rows."""
    columns = values.astype(np.float64)
    if not len(columns):
        return Moments(0, np.zeros(columns.shape[1]), np.zeros((3, columns.shape[1])))
    mean = columns.mean(axis=0)
    apart = columns - mean
    return Moments(len(columns), mean, np.stack([(apart**power).sum(axis=0) for power in (2, 3, 4)]))


def join_moments(one: Moments, two: Moments) -> Moments:
    """Moments of the rows of both together.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [6.0]])
    >>> joined, whole = join_moments(moments_of(rows[:1]), moments_of(rows[1:])), moments_of(rows)
    >>> joined.rows, bool(np.allclose(joined.mean, whole.mean)), bool(np.allclose(joined.powers, whole.powers))
    (3, True, True)
    """
    if not one.rows or not two.rows:
        return one if one.rows else two
    rows, apart = one.rows + two.rows, two.mean - one.mean
    mine, theirs = one.rows / rows, two.rows / rows
    second, third, fourth = one.powers + two.powers
    spread = apart**2 * rows * mine * theirs
    skew = mine * two.powers[0] - theirs * one.powers[0]
    fourth = fourth + spread * apart**2 * (mine**2 - mine * theirs + theirs**2)
    fourth = fourth + 6 * apart**2 * (mine**2 * two.powers[0] + theirs**2 * one.powers[0])
    fourth = fourth + 4 * apart * (mine * two.powers[1] - theirs * one.powers[1])
    third = third + spread * apart * (mine - theirs) + 3 * apart * skew
    return Moments(rows, one.mean + apart * theirs, np.stack([second + spread, third, fourth]))


def read_moments(tensors: Mapping[str, RawTensor], columns: int) -> Moments | None:
    """Inverse of ``to_raw``, bit for bit; None for anything else.

    Examples
    --------
    >>> read_moments(moments_of(np.ones((3, 2))).to_raw(), columns=2).rows
    3
    >>> read_moments({}, columns=2)
    """
    found = {name: (raw.dtype, raw.shape) for name, raw in tensors.items()}
    if found != {"rows": ("I64", (1,)), "mean": ("F64", (columns,)), "powers": ("F64", (3, columns))}:
        return None
    rows, mean, powers = (from_raw(tensors[name]).numpy() for name in ("rows", "mean", "powers"))
    sound = rows[0] > 0 and np.isfinite(mean).all() and np.isfinite(powers).all() and (powers[[0, 2]] >= 0).all()
    return Moments(int(rows[0]), mean, powers) if sound else None
