"""Products of low rank: a tensor as its base and two narrow matrices whose product was added to it."""

from __future__ import annotations

import math

import numpy as np

from dripstone.core.low_rank import FLOATS, Factors, add_product
from dripstone.core.records import TensorEntry
from dripstone.core.tensors import RawTensor
from dripstone.store.checks import corrupt, inflate
from dripstone.store.planes import deflate, plain_bytes

_WIDTH = 4


def is_product(raw: RawTensor, base: RawTensor, factors: Factors) -> bool:
    """Whether a tensor is its base plus the product, to the bit, and the product has no more ranks than it can have."""
    rows, columns = _matrix(base)
    fits = raw.dtype == base.dtype and raw.shape == base.shape and raw.dtype in FLOATS
    shapes = factors.left.shape[0] == rows and factors.right.shape == (factors.left.shape[1], columns)
    if not (fits and shapes and 0 < len(factors.right) <= min(rows, columns)):
        return False
    return add_product(base, factors).data == raw.data


def pack_factors(factors: Factors) -> bytes:
    """Both matrices, one after the other, compressed."""
    flat = [np.ascontiguousarray(factor, "<f4").reshape(-1) for factor in factors]
    return deflate(np.concatenate(flat).view(np.uint8), _WIDTH)


def unpack_factors(what: str, packed: bytes | memoryview, rows: int, columns: int) -> Factors:
    """The factors of a [rows, columns] matrix.

    Raises
    ------
    StoreError
        ``store.corrupt`` if they are not of this size, or of more ranks than there can be.

    Examples
    --------
    >>> factors = Factors(np.ones((3, 1), "f4"), np.ones((1, 2), "f4"))
    >>> [factor.shape for factor in unpack_factors("it", pack_factors(factors), 3, 2)]
    [(3, 1), (1, 2)]
    """
    each, most = _WIDTH * (rows + columns), min(rows, columns)
    plain = inflate(packed, what, limit=each * most)
    if not plain or len(plain) % each:
        raise corrupt(f"{what} inflates to {len(plain):,} bytes, no factors of {rows:,} by {columns:,}")
    values = plain_bytes(plain, _WIDTH).view("<f4")
    rank = len(plain) // each
    return Factors(values[: rows * rank].reshape(rows, rank), values[rows * rank :].reshape(rank, columns))


def add_factors(what: str, entry: TensorEntry, packed: bytes | memoryview, base: RawTensor) -> memoryview:
    """The tensor of an entry; raises as `unpack_factors`, and if the base has another shape."""
    if base.dtype not in FLOATS or list(base.shape) != entry.shape:
        raise corrupt(f"{what} is no product to be added to {base.dtype} {list(base.shape)}")
    plain = add_product(base, unpack_factors(what, packed, *_matrix(base))).data
    assert isinstance(plain, memoryview)
    return plain


def _matrix(base: RawTensor) -> tuple[int, int]:
    return (base.shape[0], math.prod(base.shape[1:])) if base.shape else (0, 0)
