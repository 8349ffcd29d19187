"""MinHash: sketches of texts that agree in about as many places as the texts have pieces in common.

References
----------
Broder, "On the Resemblance and Containment of Documents", SEQUENCES 1997. Bands of several numbers as buckets:
Leskovec et al., "Mining of Massive Datasets", section 3.4.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

NUMBERS = 64
"""Numbers of a sketch. The share that agrees has a standard error of at most 0.06."""

BAND = 4
"""Numbers of a band. Of two texts that have four fifths in common, one of the 16 bands agrees 99.9 times in 100."""

PIECE = 4
"""Characters of a piece."""

AT_ONCE = 4096
"""Pieces that are hashed together, so that a text of a million characters takes no more memory than others."""

_PRIME = 2**31 - 1


def sketch_texts(texts: Sequence[str]) -> np.ndarray:
    """Sketches of texts, [texts, 64] int32.

    Every run of four characters is a piece; of each of 64 hash functions the lowest value over the pieces is kept.

    Examples
    --------
    >>> one, two, other = sketch_texts(["where is my credit card", "where is my credit cart", "a day at the zoo"])
    >>> bool((one == two).mean() > 0.7), bool((one == other).mean() < 0.2)
    (True, True)
    """
    draw = np.random.default_rng(0)
    factors, shifts = draw.integers(1, _PRIME, (2, NUMBERS), dtype=np.int64)
    sketches = np.empty((len(texts), NUMBERS), dtype=np.int32)
    for place, text in enumerate(texts):
        hashes = _hash_pieces(text)
        parts = [hashes[start : start + AT_ONCE, None] for start in range(0, len(hashes), AT_ONCE)]
        # A product is below 2^62: no overflow.
        sketches[place] = np.min([((part * factors + shifts) % _PRIME).min(axis=0) for part in parts], axis=0)
    return sketches


def _hash_pieces(text: str) -> np.ndarray:
    """[pieces] int64, each piece once."""
    data = text.encode("utf-32-le", "surrogatepass")  # four bytes a character, whatever the script
    starts = range(0, 4 * max(1, len(text) - PIECE + 1), 4)
    pieces = {zlib.crc32(data[start : start + 4 * PIECE]) for start in starts}
    return np.fromiter(pieces, dtype=np.int64, count=len(pieces)) % _PRIME


def text_buckets(sketches: np.ndarray) -> np.ndarray:
    """[texts, 16] int64, one for each band: texts that share none are hardly alike."""
    bands = np.ascontiguousarray(sketches).view(np.int64).reshape(len(sketches), NUMBERS // BAND, BAND // 2)
    return bands[..., 0] * np.int64(0x9E3779B97F4A7C15 - 2**64) ^ bands[..., 1]


def are_texts_alike(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Whether texts have at least this share of their pieces in common, [pairs] bool; of [pairs, 64] each, or one."""
    return (one == other).mean(axis=1) >= share
