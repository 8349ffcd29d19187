"""Adding a product of two narrow matrices to a tensor, to the same bits everywhere.

A matrix product is not that: its sums depend on the library and on the processor. Here every entry is computed in
float64, one product of two float32 numbers added after another, and rounded at the end: to float32 first, where the
tensor is of bfloat16.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dripstone.core.tensors import RawTensor

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Dtypes of tensors that a product can be added to, as numpy reads their bytes."""

_PORTION = 2**16


class Factors(NamedTuple):
    """A product of two matrices: ``left`` [m, r] and ``right`` [r, n], both float32.

    The tensor that it is added to has the shape [m, ...] with n numbers in each of its m slices.
    """

    left: np.ndarray
    right: np.ndarray


def add_product(base: RawTensor, factors: Factors) -> RawTensor:
    """The tensor plus ``left @ right``, rounded to its dtype.

    Parameters
    ----------
    base : RawTensor
        A tensor of floats with at least one dimension.
    factors : Factors
        Of its shape.

    Raises
    ------
    ValueError
        If the dtype is none of floats, or the shapes do not fit.

    References
    ----------
    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, eq. 3.

    Examples
    --------
    >>> base = RawTensor("F32", (2, 2), np.ones((2, 2), "<f4").tobytes())
    >>> factors = Factors(np.array([[1.0], [2.0]], "f4"), np.array([[0.5, 0.0]], "f4"))
    >>> np.frombuffer(add_product(base, factors).data, "<f4").tolist()
    [1.5, 1.0, 2.0, 1.0]
    """
    left, right = factors
    rows, columns = base.shape[0] if base.shape else 0, math.prod(base.shape[1:])
    if base.dtype not in FLOATS or left.shape != (rows, len(right)) or right.shape != (len(left.T), columns):
        raise ValueError(f"{list(left.shape)} times {list(right.shape)} is no {base.dtype} {list(base.shape)}")
    stored = np.frombuffer(base.data, FLOATS[base.dtype]).reshape(rows, columns)
    out = np.empty_like(stored)
    step = max(1, _PORTION // max(columns, 1))
    factor, wide = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows, step):
            part = slice(start, start + step)
            total = _widened(stored[part], base.dtype)
            for rank in range(len(wide)):
                total += factor[part, rank, None] * wide[rank]
            out[part] = _narrowed(total, base.dtype)
    return RawTensor(base.dtype, base.shape, out.reshape(-1).view(np.uint8).data)


def _widened(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)


def _narrowed(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "BF16":
        return values.astype(FLOATS[dtype])
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16  # to nearest, ties to even
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)
