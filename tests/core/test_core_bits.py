"""Bits survive the way through plain bytes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import ModelError, StoreError
from dripstone.core.tensors import DTYPE_BYTES, RawTensor

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def of_bits(dtype: torch.dtype, data: bytes, shape: tuple[int, ...]) -> torch.Tensor:
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(0, 4), max_size=3).map(tuple), data=st.data())
def test_every_dtype_and_bit_pattern_comes_back(dtype, shape, data):
    size = torch.empty(shape, dtype=dtype).nbytes
    bits = data.draw(st.binary(min_size=size, max_size=size))
    tensor = of_bits(dtype, bits, shape)
    raw = to_raw(tensor)
    assert raw.shape == shape
    assert len(raw.data) == size == DTYPE_BYTES[raw.dtype] * tensor.numel()
    again = from_raw(raw)
    assert again.dtype == dtype
    assert again.shape == shape
    assert to_raw(again) == raw
    if dtype != torch.bool:
        assert raw.data == bits


def test_the_two_lists_of_dtypes_agree():
    assert {to_raw(torch.zeros(1, dtype=dtype)).dtype for dtype in DTYPES} == DTYPE_BYTES.keys()


def test_zero_dimensions_stay_zero():
    again = from_raw(to_raw(torch.tensor(2.5)))
    assert again.shape == ()
    assert again.item() == 2.5


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 5)])
def test_empty_tensors_keep_their_shape(shape):
    raw = to_raw(torch.empty(shape, dtype=torch.bfloat16))
    assert raw == RawTensor("BF16", shape, b"")
    assert from_raw(raw).shape == shape


@pytest.mark.parametrize(
    "view",
    [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[1:, 1], lambda x: x[0].expand(3, 4), lambda x: x.flip(0)],
)
def test_views_are_stored_in_row_major_order(view):
    tensor = view(torch.arange(12, dtype=torch.int16).reshape(3, 4))
    assert to_raw(tensor) == to_raw(tensor.clone(memory_format=torch.contiguous_format))
    assert torch.equal(from_raw(to_raw(tensor)), tensor)


def test_channels_last_memory_is_stored_in_row_major_order():
    tensor = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert to_raw(tensor.to(memory_format=torch.channels_last)) == to_raw(tensor)


def test_neither_way_shares_memory():
    tensor = torch.zeros(2)
    raw = to_raw(tensor)
    tensor.fill_(1.0)
    a, b = from_raw(raw), from_raw(raw)
    a.fill_(2.0)
    assert b.tolist() == [0.0, 0.0]
    assert from_raw(raw).tolist() == [0.0, 0.0]


def test_a_parameter_is_taken_without_its_graph():
    assert not from_raw(to_raw(torch.nn.Parameter(torch.ones(1)))).requires_grad


def test_other_dtypes_are_refused_by_name():
    with pytest.raises(ModelError, match="complex64 is not stored; use one of F64, F32"):
        to_raw(torch.ones(1, dtype=torch.complex64))


@pytest.mark.parametrize(
    "raw",
    [
        RawTensor("F32", (2,), b""),
        RawTensor("F32", (2,), b"\0" * 7),
        RawTensor("F32", (2,), b"\0" * 12),
        RawTensor("F32", (), b""),
        RawTensor("C64", (1,), b"\0" * 8),
    ],
)
def test_bytes_that_do_not_fit_the_shape_are_refused(raw):
    with pytest.raises(StoreError, match="bytes are no") as caught:
        from_raw(raw)
    assert caught.value.kind == "store.corrupt"
