import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import floats, nudged

from dripstone.core.errors import ModelError, StoreError
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.encoding import MAX_DEPTH, decode, describe, encode
from dripstone.store.format import byte_size, pack_tensors, unpack

OBJECT = "ab" * 32
BASE = "cd" * 32


def through(raw, base=None, base_depth=0):
    """A tensor after encoding, packing, unpacking, decoding."""
    encoded = encode(raw, base, base_depth)
    stored = unpack(pack_tensors({"t": encoded.stored, "other": encode(floats(9, 3), None, 0).stored}))["t"]
    return encoded, decode("t", describe(raw, encoded, OBJECT, BASE), stored, base)


@st.composite
def tensors(draw, dtype=None):
    dtype = dtype or draw(st.sampled_from(sorted(DTYPE_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=3)))
    size = byte_size(dtype, shape)
    kind = draw(st.sampled_from(["bytes", "zeros", "ones"]))  # 0xff.. is a NaN with a payload in every float
    data = draw(st.binary(min_size=size, max_size=size)) if kind == "bytes" else bytes([255 * (kind == "ones")]) * size
    return RawTensor(dtype, shape, data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_tensor_comes_back_bit_for_bit(data):
    raw = data.draw(tensors())
    base = data.draw(st.none() | tensors() | tensors(dtype=raw.dtype))
    _, back = through(raw, base, data.draw(st.integers(0, MAX_DEPTH)))
    assert back == raw


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["F32", "BF16", "F16", "I64", "BOOL"]), st.integers(0, 40), st.integers(0, 40), st.integers(0, 255)
)
def test_grown_and_shrunken_layers_are_deltas(dtype, old_rows, new_rows, byte):
    pattern = np.random.default_rng(0).integers(0, 256, 40 * 32 * 8, np.uint8).tobytes()
    size = byte_size(dtype, (old_rows, 32))
    base = RawTensor(dtype, (old_rows, 32), pattern[:size])
    whole = byte_size(dtype, (new_rows, 32))
    raw = RawTensor(dtype, (new_rows, 32), (pattern[:size] + bytes([byte]) * whole)[:whole])
    encoded, back = through(raw, base)
    assert back == raw
    if new_rows >= 8 and old_rows >= 8:
        assert encoded.encoding in ("xor-zstd", "sparse-zstd")


def test_noise_is_stored_as_it_is():
    noise = RawTensor("U8", (4096,), np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes())
    assert encode(noise, None, 0) == ("raw", 0, noise)


def test_repetition_is_compressed_and_change_is_a_delta():
    raw = floats(0, 200, 50)
    assert encode(RawTensor("F32", (1000,), bytes(4000)), None, 0).encoding == "zstd"
    encoded = encode(nudged(raw, 1), raw, 3)
    assert (encoded.encoding, encoded.depth) == ("xor-zstd", 4)
    assert len(encoded.stored.data) < len(raw.data) / 8


def test_a_base_that_does_not_help_is_not_used():
    raw = RawTensor("F32", (1000,), bytes(4000))
    assert encode(raw, floats(0, 1000), 0).encoding == "zstd"
    assert encode(floats(1, 1000), floats(2, 1000), 0).encoding != "xor-zstd"


def test_the_chain_is_cut_and_dtypes_are_not_mixed():
    raw = floats(0, 1000)
    assert encode(raw, raw, MAX_DEPTH - 1).depth == MAX_DEPTH
    assert encode(raw, raw, MAX_DEPTH).depth == 0
    assert encode(raw, raw._replace(dtype="I32"), 0).encoding != "xor-zstd"


@pytest.mark.parametrize(
    "raw", [RawTensor("F32", (2,), b"1234"), RawTensor("F8", (1,), b"1"), RawTensor("U8", (-1, -1), b"1")]
)
def test_bytes_must_fit_their_shape(raw):
    with pytest.raises(ModelError, match="cannot be"):
        encode(raw, None, 0)


def test_decode_names_the_tensor_and_the_remedy():
    raw = RawTensor("F32", (1000,), bytes(4000))
    encoded = encode(raw, None, 0)
    entry = describe(raw, encoded, OBJECT, None)
    wrong = [
        (msgspec.structs.replace(entry, shape=[999]), encoded.stored, None),
        (msgspec.structs.replace(entry, digest="0" * 64), encoded.stored, None),
        (msgspec.structs.replace(entry, encoding="raw"), encoded.stored, None),
        (msgspec.structs.replace(entry, encoding="xor-zstd"), encoded.stored, None),
        (msgspec.structs.replace(entry, encoding="xor-zstd"), encoded.stored, floats(0, 4)._replace(dtype="I32")),
        (entry, encoded.stored._replace(data=encoded.stored.data[:-2]), None),
        (entry, raw, None),
    ]
    for entry, stored, base in wrong:
        with pytest.raises(StoreError, match=r"tensor 'layer\.weight'.*restore") as caught:
            decode("layer.weight", entry, stored, base)
        assert caught.value.kind == "store.corrupt"
