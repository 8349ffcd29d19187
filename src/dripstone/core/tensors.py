"""Tensors as bytes and back. The store knows only the bytes, so that reading it never imports torch."""

from __future__ import annotations

from typing import NamedTuple

DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Element sizes of the dtypes that a store may hold, by their safetensors names."""


class RawTensor(NamedTuple):
    """A tensor's plain little-endian bytes in row-major order, with its safetensors dtype name and shape.

    ``data`` may be a view of memory that somebody holds, and that does not change any more.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
