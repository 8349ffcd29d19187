"""torch tensors to plain bytes and back, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import torch

from dripstone.core.errors import ModelError, StoreError
from dripstone.core.tensors import DTYPE_BYTES, RawTensor

_TO_NAME = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_TO_DTYPE = {name: dtype for dtype, name in _TO_NAME.items()}


def to_raw(tensor: torch.Tensor) -> RawTensor:
    """A tensor's bytes, copied.

    Examples
    --------
    >>> raw = to_raw(torch.tensor([1.0, -0.0], dtype=torch.bfloat16))
    >>> raw.dtype, raw.shape, raw.data.hex()
    ('BF16', (2,), '803f0080')
    """
    raw = view_raw(tensor)
    return raw._replace(data=bytes(raw.data))


def view_raw(tensor: torch.Tensor) -> RawTensor:
    """A tensor's bytes where they are, if they are one after another on the CPU: it must not change any more.

    Examples
    --------
    >>> view_raw(torch.tensor([1, 2], dtype=torch.int8)).data.tobytes()
    b'\\x01\\x02'
    """
    if tensor.dtype not in _TO_NAME:
        raise ModelError(f"{tensor.dtype} is not stored", remedy=f"use one of {', '.join(_TO_NAME.values())}")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return RawTensor(_TO_NAME[tensor.dtype], tuple(tensor.shape), flat.view(torch.uint8).numpy().data)


def from_raw(raw: RawTensor) -> torch.Tensor:
    """The tensor that these bytes make.

    It has memory of its own, but where that of the bytes may be written, as that of ``view_raw`` may and what a store
    has decompressed: then it shares theirs.

    Raises
    ------
    StoreError
        If the dtype is not known, or the number of bytes is not that of the shape.

    Examples
    --------
    >>> torch.equal(from_raw(to_raw(torch.arange(6).reshape(2, 3))), torch.arange(6).reshape(2, 3))
    True
    """
    if raw.dtype not in _TO_DTYPE or len(raw.data) != math.prod(raw.shape) * DTYPE_BYTES[raw.dtype]:
        raise StoreError(
            f"{len(raw.data)} bytes are no {raw.dtype} tensor of shape {list(raw.shape)}",
            remedy="run 'dripstone verify'",
            kind="store.corrupt",
        )
    dtype = _TO_DTYPE[raw.dtype]
    if not raw.data:
        return torch.empty(raw.shape, dtype=dtype)
    values = np.frombuffer(raw.data, np.uint8)
    return torch.from_numpy(values if values.flags.writeable else values.copy()).view(dtype).reshape(raw.shape)
