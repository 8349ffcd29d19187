"""A version's bytes: how a tensor is encoded, how tensors share a payload, and the hashes that vouch for them.

Payloads are safetensors files. They are laid out here and not by the library, whose writer takes raw addresses since
0.8 and whose reader copies every tensor, wanted or not; tests keep both sides compatible with it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import zstandard

from dripstone.core.errors import ModelError
from dripstone.core.records import Encoding, Manifest, TensorEntry
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.checks import corrupt, inflate, parse, sha256

MAX_DEPTH = 16
"""No tensor is more than so many deltas away from plain bytes."""

DELTAS = ("xor-zstd", "grown-zstd")
"""Encodings that are decoded against a base."""

MAX_GROWN_DIMENSIONS = 8
"""Of a tensor that is ``grown-zstd``."""

MAX_TENSOR_BYTES = 2**34
MAX_PAYLOAD_BYTES = 2**37
MAX_HEADER_BYTES = 2**24

_WORTH = 0.95
_LEVEL = 3


class Encoded(NamedTuple):
    """A tensor as it will lie in a payload: ``stored`` is itself (``raw``) or a row of compressed bytes."""

    encoding: Encoding
    depth: int
    stored: RawTensor


class _Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data_offsets: tuple[int, int]


_HEADER = msgspec.json.Decoder(dict[str, _Slot])


def byte_size(dtype: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor.

    Examples
    --------
    >>> byte_size("BF16", (3, 4)), byte_size("F32", ())
    (24, 4)
    """
    return DTYPE_BYTES[dtype] * math.prod(shape)


def is_sane(dtype: str, shape: Collection[int]) -> bool:
    """Whether dtype and shape describe a tensor that a store may hold; zeros cannot hide a gigantic dimension."""
    return (
        dtype in DTYPE_BYTES
        and len(shape) <= 64
        and all(size >= 0 for size in shape)
        and byte_size(dtype, (max(size, 1) for size in shape)) <= MAX_TENSOR_BYTES
    )


def encode(raw: RawTensor, base: RawTensor | None, base_depth: int) -> Encoded:
    """Choose the smallest encoding of a tensor.

    Parameters
    ----------
    raw : RawTensor
        The new bits.
    base : RawTensor or None
        The same tensor in the parent. It is cut, or filled with zeros, to the size of ``raw``: a layer that has grown
        has its new rows at the end. Where columns have grown, it is filled up in every dimension.
    base_depth : int
        How many deltas ``base`` itself is away from plain bytes.

    Returns
    -------
    Encoded
        ``raw`` unless another saves at least 5 %; ``zstd`` of byte planes; or ``xor-zstd``, of byte planes of what
        differs from ``base``, called ``grown-zstd`` where the columns have grown. Lossless, bit for bit.

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
    width, best, most = DTYPE_BYTES[raw.dtype], Encoded("raw", 0, raw), _WORTH * len(raw.data)
    plain = np.frombuffer(raw.data, np.uint8)
    packed = _deflate(plain, width)
    if len(packed) <= most:
        best, most = Encoded("zstd", 0, _row(packed)), len(packed) - 1
    if base is not None and base.dtype == raw.dtype and base_depth < MAX_DEPTH:
        kind: Encoding = "grown-zstd" if _has_wider_rows(base.shape, raw.shape) else "xor-zstd"
        packed = _deflate(plain ^ _fitted(base, raw.shape, kind), width)
        if len(packed) <= most:
            best = Encoded(kind, base_depth + 1, _row(packed))
    return best


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
        The decoded tensor that an ``xor-zstd`` or ``grown-zstd`` payload refers to.

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
    planes = inflate(packed, what, size=size, limit=MAX_TENSOR_BYTES)
    plain = np.frombuffer(planes, np.uint8).reshape(width, -1).T.copy().reshape(-1)
    if entry.encoding in DELTAS:
        if base is None or base.dtype != entry.dtype:
            raise corrupt(f"{what} has no {entry.dtype} base to be decoded against")
        if entry.encoding == "grown-zstd" and not _has_wider_rows(base.shape, entry.shape):
            raise corrupt(f"{what} has not grown to {entry.shape} from its base, which is {list(base.shape)}")
        plain ^= _fitted(base, entry.shape, entry.encoding)
    return plain.data


def _deflate(plain: np.ndarray, width: int) -> bytes:
    # Byte planes: exponents beside exponents, so that zstd finds what repeats (ZipNN, arXiv 2411.05239).
    planes = np.ascontiguousarray(plain.reshape(-1, width).T)
    return zstandard.ZstdCompressor(level=_LEVEL).compress(planes.data)


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


def pack_tensors(tensors: Mapping[str, RawTensor]) -> bytes:
    """A safetensors file, the same bytes for the same tensors: widest dtypes first, which aligns all, then by name.

    Raises
    ------
    ModelError
        If a name is reserved by safetensors, or there are too many tensors.

    Examples
    --------
    >>> data = pack_tensors({"b": RawTensor("U8", (2,), b"ab"), "a": RawTensor("F16", (), b"cd")})
    >>> unpack(data, ["b"])
    {'b': RawTensor(dtype='U8', shape=(2,), data=<memory at 0x...>)}
    """
    return b"".join(pack_parts(tensors))


def pack_parts(tensors: Mapping[str, RawTensor]) -> list[bytes | memoryview]:
    """What ``pack_tensors`` puts together: the bytes one after another, not copied."""
    if "__metadata__" in tensors:
        raise ModelError("a tensor is called '__metadata__'", remedy="give it another name; safetensors uses this one")
    order = sorted(tensors, key=lambda name: (-DTYPE_BYTES[tensors[name].dtype], name))
    header, end = {}, 0
    for name in order:
        raw = tensors[name]
        header[name] = _Slot(raw.dtype, list(raw.shape), (end, end + len(raw.data)))
        end += len(raw.data)
    text = msgspec.json.encode(header)
    if len(text) > MAX_HEADER_BYTES:
        raise ModelError(f"{len(order):,} tensors are too many for one payload", remedy="give the model fewer tensors")
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *(tensors[name].data for name in order)]


def unpack(data: bytes, names: Iterable[str] | None = None) -> dict[str, RawTensor]:
    """Tensors of a payload, as views of its bytes.

    Parameters
    ----------
    data : bytes
        A safetensors file without metadata.
    names : iterable of str, optional
        Which tensors. All if left out.

    Raises
    ------
    StoreError
        ``store.corrupt`` if the header lies about sizes, leaves a gap, overlaps, or lacks a name.
    """
    start, slots = _header(data)
    wanted = slots if names is None else list(names)
    if missing := [name for name in wanted if name not in slots]:
        raise corrupt(f"a payload has no tensor {missing[0]!r}")
    found, tensors = {}, memoryview(data)[start:]
    for name in wanted:
        begin, end = slots[name].data_offsets
        found[name] = RawTensor(slots[name].dtype, tuple(slots[name].shape), tensors[begin:end])
    return found


def _header(data: bytes) -> tuple[int, dict[str, _Slot]]:
    length = int.from_bytes(data[:8], "little")
    if len(data) > MAX_PAYLOAD_BYTES or len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise corrupt(f"a payload of {len(data):,} bytes cannot have a header of {length:,} bytes")
    slots = parse(_HEADER.decode, data[8 : 8 + length], "the header of a payload")
    end = 0
    for name, slot in sorted(slots.items(), key=lambda item: item[1].data_offsets):
        if not is_sane(slot.dtype, slot.shape):
            raise corrupt(f"tensor {name!r} of a payload claims to be {slot.dtype} {slot.shape}")
        if slot.data_offsets != (end, end + byte_size(slot.dtype, slot.shape)):
            raise corrupt(f"tensor {name!r} of a payload is not where its shape and its neighbours put it")
        end = slot.data_offsets[1]
    if end != len(data) - 8 - length:
        raise corrupt(f"a payload has {len(data) - 8 - length:,} bytes of tensors where its header says {end:,}")
    return 8 + length, slots


def digest(raw: RawTensor) -> str:
    """SHA-256 of a tensor's plain bytes."""
    return sha256(raw.data)


def merkle_root(entries: Mapping[str, TensorEntry]) -> str:
    """One hash for all tensors: what they are called and what they hold, not how they are encoded.

    Leaves are ``sha256(0x00, [name, dtype, shape, digest] as JSON)`` in the order of the names, inner nodes
    ``sha256(0x01, left, right)``; a node without a neighbour moves up. The prefixes keep a leaf from posing as a node
    (RFC 6962, section 2.1).

    Examples
    --------
    >>> merkle_root({}) == sha256(b"")
    True
    """
    level = [
        hashlib.sha256(b"\0" + msgspec.json.encode([name, entry.dtype, entry.shape, entry.digest])).digest()
        for name, entry in sorted(entries.items())
    ]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0].hex() if level else sha256(b"")


def version_id(manifest: Manifest) -> str:
    """The id of a version: a hash of what it is, never of what was said about it later.

    Examples
    --------
    >>> from dripstone.core.records import Spec
    >>> root = Manifest(Spec("m:f"), "classification", ["a"], None, "full", "", merkle_root({}), {})
    >>> len(version_id(root))
    64
    """
    identity = {
        "format": manifest.format,
        "spec": manifest.spec,
        "task": manifest.task,
        "labels": manifest.labels,
        "parent": manifest.parent,
        "merkle": manifest.merkle,
        "selection": manifest.selection,
        "data": manifest.data,
    }
    return sha256(msgspec.json.encode(identity, order="deterministic"))
