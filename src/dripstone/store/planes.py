"""Byte planes: exponents beside exponents, so that zstd finds what repeats (ZipNN, arXiv 2411.05239)."""

from __future__ import annotations

import numpy as np
import zstandard

_LEVEL = 3


def deflate(plain: np.ndarray, width: int) -> bytes:
    """The bytes of elements, ``width`` each, in planes and compressed.

    Examples
    --------
    >>> from dripstone.store.checks import inflate
    >>> packed = deflate(np.array([1, 2], "<u2").view(np.uint8), 2)
    >>> plain_bytes(inflate(packed, "the sample", limit=4), 2).view("<u2").tolist()
    [1, 2]
    """
    planes = np.ascontiguousarray(plain.reshape(-1, width).T)
    return zstandard.ZstdCompressor(level=_LEVEL).compress(planes.data)


def plain_bytes(planes: bytes, width: int) -> np.ndarray:
    """The elements' bytes again, of planes that were inflated; [bytes] uint8 in memory of their own."""
    return np.frombuffer(planes, np.uint8).reshape(width, -1).T.copy().reshape(-1)
