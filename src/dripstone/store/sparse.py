"""Sparse differences: the few elements of a tensor that differ from its base, and the gaps between them.

Between places drawn at random, a share p of all, a gap is worth ``H(p) / p`` bits, about ``log2(e / p)``: 8.1 at one in
a hundred. In byte planes, zstd takes a tenth more (``tests/store/test_store_sparse.py``).
"""

from __future__ import annotations

import numpy as np

from dripstone.store.checks import corrupt, inflate
from dripstone.store.planes import deflate, plain_bytes

FEWEST = 8
"""Where at most one element in so many differs, it is stored so."""

_GAP = 4
"""Bytes of a gap before compression."""


def pack_sparse(difference: np.ndarray, width: int) -> bytes | None:
    """The elements, ``width`` bytes each, that are not 0; None where they are none, or not few.

    Examples
    --------
    >>> difference = np.zeros(400, np.uint8)
    >>> difference[[40, 80]] = 7
    >>> packed = pack_sparse(difference, 4)
    >>> bool((np.frombuffer(apply_sparse("it", packed, np.zeros(400, np.uint8), 4), np.uint8) == difference).all())
    True
    >>> pack_sparse(np.ones(400, np.uint8), 4) is None
    True
    """
    elements = difference.reshape(-1, width)
    places = np.flatnonzero(elements.any(axis=1))
    if not len(places) or FEWEST * len(places) > len(elements) or len(elements) > 2 ** (8 * _GAP):
        return None
    gaps = (np.diff(places, prepend=-1) - 1).astype("<u4").view(np.uint8).reshape(-1, _GAP)
    return deflate(np.concatenate([gaps, elements[places]], axis=1).reshape(-1), _GAP + width)


def apply_sparse(what: str, packed: bytes | memoryview, base: np.ndarray, width: int) -> memoryview:
    """The bytes of a base with the elements changed.

    Raises
    ------
    StoreError
        ``store.corrupt`` if an element lies beyond the end, or there are more of them than may be.
    """
    elements = base.reshape(-1, width).copy()
    plain = inflate(packed, what, limit=(_GAP + width) * (len(elements) // FEWEST))
    if len(plain) % (_GAP + width):
        raise corrupt(f"{what} inflates to {len(plain):,} bytes, which are no elements of {width} bytes and their gaps")
    columns = plain_bytes(plain, _GAP + width).reshape(-1, _GAP + width)
    gaps = np.ascontiguousarray(columns[:, :_GAP]).view("<u4").reshape(-1)
    places = np.cumsum(gaps, dtype=np.uint64) + np.arange(len(gaps), dtype=np.uint64)
    if len(places) and int(places[-1]) >= len(elements):
        raise corrupt(f"{what} changes element {int(places[-1]):,} of {len(elements):,}")
    elements[places.astype(np.int64)] ^= columns[:, _GAP:]
    return elements.reshape(-1).data
