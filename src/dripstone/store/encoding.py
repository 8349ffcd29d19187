"""How a tensor is stored: as it is, compressed, or as what it differs by from the same tensor of the parent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dripstone.core.errors import ModelError
from dripstone.core.low_rank import Factors
from dripstone.core.records import Encoding, TensorEntry
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.checks import corrupt, inflate
from dripstone.store.format import MAX_TENSOR_BYTES, byte_size, digest, is_sane
from dripstone.store.low_rank import add_factors, is_product, pack_factors
from dripstone.store.planes import deflate, plain_bytes
from dripstone.store.sparse import apply_sparse, pack_sparse

MAX_DEPTH = 16
"""No tensor is more than so many deltas away from plain bytes."""

DELTAS = ("xor-zstd", "grown-zstd", "sparse-zstd", "low-rank")
"""Encodings that are decoded against a base."""

MAX_GROWN_DIMENSIONS = 8
"""Of a tensor that is ``grown-zstd``."""

_WORTH = 0.95


class Encoded(NamedTuple):
    """A tensor as it will lie in a payload: ``stored`` is itself (``raw``) or a row of compressed bytes."""

    encoding: Encoding
    depth: int
    stored: RawTensor


def encode(raw: RawTensor, base: RawTensor | None, base_depth: int, factors: Factors | None = None) -> Encoded:
    """Choose a small encoding of a tensor.

    Parameters
    ----------
    raw : RawTensor
        The new bits.
    base : RawTensor or None
        The same tensor in the parent. It is cut, or filled with zeros, to the size of ``raw``: a layer that has grown
        has its new rows at the end. Where columns have grown, it is filled up in every dimension.
    base_depth : int
        How many deltas ``base`` itself is away from plain bytes.
    factors : Factors or None
        A product that was added to the base, where the tensor has come about so.

    Returns
    -------
    Encoded
        ``raw`` unless another saves at least 5 %; ``zstd`` of byte planes; ``xor-zstd``, of byte planes of what
        differs from ``base``, called ``grown-zstd`` where the columns have grown; ``sparse-zstd``, of the few elements
        that differ and the gaps between them; or ``low-rank``, of the factors. Lossless, bit for bit.

    Raises
    ------
    ModelError
        If the bytes do not fit dtype and shape, or are too many.

    Examples
    --------
    >>> raw = RawTensor("F32", (1000,), bytes(range(250)) * 16)
    >>> encode(raw, raw, 0).encoding, encode(raw, raw, MAX_DEPTH).depth
    ('xor-zstd', 0)
    >>> rows = [raw.data[start : start + 400] + b"0000" for start in range(0, 4000, 400)]
    >>> wider = RawTensor("F32", (10, 101), b"".join(rows))
    >>> encode(wider, raw._replace(shape=(10, 100)), 0).encoding
    'grown-zstd'
    """
    if not is_sane(raw.dtype, raw.shape) or byte_size(raw.dtype, raw.shape) != len(raw.data):
        raise ModelError(
            f"a tensor of {len(raw.data):,} bytes cannot be {raw.dtype} {list(raw.shape)}",
            remedy=f"store tensors of at most {MAX_TENSOR_BYTES:,} bytes, whole",
        )
    if base is not None and (base.dtype != raw.dtype or base_depth >= MAX_DEPTH):
        base = None
    best, most = Encoded("raw", 0, raw), _WORTH * len(raw.data)
    for kind, packed in _packed(raw, base, factors):
        if len(packed) <= most:
            depth = base_depth + 1 if kind in DELTAS else 0
            best, most = Encoded(kind, depth, _row(packed)), len(packed) - 1
    return best


def _packed(raw: RawTensor, base: RawTensor | None, factors: Factors | None) -> Iterator[tuple[Encoding, bytes]]:
    """The ways in which a tensor may be stored that are worth a try."""
    width, plain = DTYPE_BYTES[raw.dtype], np.frombuffer(raw.data, np.uint8)
    if base is not None and factors is not None and is_product(raw, base, factors):
        packed = pack_factors(factors)
        yield "low-rank", packed
        if 2 * len(packed) <= len(raw.data):
            return
    kind: Encoding = "xor-zstd"
    if base is not None:
        kind = "grown-zstd" if _has_wider_rows(base.shape, raw.shape) else kind
        difference = plain ^ _fitted(base, raw.shape, kind)
        if kind == "xor-zstd" and (sparse := pack_sparse(difference, width)) is not None:
            yield "sparse-zstd", sparse
            return
        yield kind, deflate(difference, width)
    yield "zstd", deflate(plain, width)


def describe(raw: RawTensor, encoded: Encoded, object_name: str, base: str | None) -> TensorEntry:
    """The manifest's entry of a tensor that lies in an object."""
    return TensorEntry(
        dtype=raw.dtype,
        shape=list(raw.shape),
        digest=digest(raw),
        object=object_name,
        encoding=encoded.encoding,
        base=base if encoded.encoding in DELTAS else None,
        depth=encoded.depth,
    )


def decode(name: str, entry: TensorEntry, stored: RawTensor, base: RawTensor | None) -> RawTensor:
    """Give back a tensor's plain bytes, verified.

    Parameters
    ----------
    name : str
        The tensor, for messages.
    entry : TensorEntry
        What the manifest says of it (checked before).
    stored : RawTensor
        What the payload holds under that name.
    base : RawTensor or None
        The decoded tensor that a delta is against.

    Raises
    ------
    StoreError
        ``store.corrupt`` if sizes, base or digest do not fit.

    Examples
    --------
    >>> raw = RawTensor("I32", (500,), bytes(2000))
    >>> encoded = encode(raw, None, 0)
    >>> decode("steps", describe(raw, encoded, "", None), encoded.stored, None) == raw
    True
    """
    what = f"tensor {name!r} in object {entry.object[:12]}"
    if entry.encoding == "raw":
        if (stored.dtype, list(stored.shape)) != (entry.dtype, entry.shape):
            raise corrupt(f"{what} is {stored.dtype} {list(stored.shape)}, not {entry.dtype} {entry.shape}")
        data = stored.data
    else:
        if stored.dtype != "U8" or len(stored.shape) != 1:
            raise corrupt(f"{what} is not a row of compressed bytes")
        data = _decompressed(what, entry, stored.data, base)
    raw = RawTensor(entry.dtype, tuple(entry.shape), data)
    if digest(raw) != entry.digest:
        raise corrupt(f"{what} does not have the digest {entry.digest[:12]} that its manifest names")
    return raw


def _decompressed(what: str, entry: TensorEntry, packed: bytes | memoryview, base: RawTensor | None) -> memoryview:
    size, width = byte_size(entry.dtype, entry.shape), DTYPE_BYTES[entry.dtype]
    if entry.encoding == "zstd":
        return plain_bytes(inflate(packed, what, size=size, limit=MAX_TENSOR_BYTES), width).data
    if base is None or base.dtype != entry.dtype:
        raise corrupt(f"{what} has no {entry.dtype} base to be decoded against")
    if entry.encoding == "low-rank":
        return add_factors(what, entry, packed, base)
    if entry.encoding == "sparse-zstd":
        return apply_sparse(what, packed, _fitted(base, entry.shape, "xor-zstd"), width)
    if entry.encoding == "grown-zstd" and not _has_wider_rows(base.shape, entry.shape):
        raise corrupt(f"{what} has not grown to {entry.shape} from its base, which is {list(base.shape)}")
    plain = plain_bytes(inflate(packed, what, size=size, limit=MAX_TENSOR_BYTES), width)
    plain ^= _fitted(base, entry.shape, entry.encoding)
    return plain.data


def _row(packed: bytes) -> RawTensor:
    return RawTensor("U8", (len(packed),), packed)


def _has_wider_rows(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether a tensor has grown otherwise than by new rows at its end, which need no encoding of their own."""
    one_kind = len(old) == len(new) <= MAX_GROWN_DIMENSIONS
    return one_kind and tuple(old[1:]) != tuple(new[1:]) and all(a <= b for a, b in zip(old, new, strict=True))


def _fitted(base: RawTensor, shape: Sequence[int], encoding: Encoding) -> np.ndarray:
    """The bytes of a base in the size of the tensor that is a delta against it, with zeros where it has none."""
    width, data = DTYPE_BYTES[base.dtype], np.frombuffer(base.data, np.uint8)
    if encoding == "grown-zstd":
        grown = np.zeros((*shape, width), np.uint8)
        grown[tuple(map(slice, base.shape))] = data.reshape(*base.shape, width)
        return grown.reshape(-1)
    size = byte_size(base.dtype, shape)
    data = data[:size]
    return data if data.size == size else np.concatenate([data, np.zeros(size - data.size, np.uint8)])
