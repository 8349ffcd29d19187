"""A version's bytes: how tensors share a payload, and the hashes that vouch for them.

Payloads are safetensors files. They are laid out here and not by the library, whose writer takes raw addresses since
0.8 and whose reader copies every tensor, wanted or not; tests keep both sides compatible with it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated

import msgspec

from dripstone.core.errors import ModelError
from dripstone.core.records import Manifest, TensorEntry
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.checks import corrupt, parse, sha256

MAX_TENSOR_BYTES = 2**34
MAX_PAYLOAD_BYTES = 2**37
MAX_HEADER_BYTES = 2**24


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
