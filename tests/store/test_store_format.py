import time

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import floats, nudged

from dripstone.core.errors import ModelError, StoreError
from dripstone.core.records import Manifest, Spec
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.format import (
    MAX_DEPTH,
    byte_size,
    decode,
    describe,
    encode,
    is_sane,
    merkle_root,
    pack_tensors,
    unpack,
    version_id,
)

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
        assert encoded.encoding == "xor-zstd"


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


def test_zero_cannot_hide_a_gigantic_shape():
    assert is_sane("F32", (0, 3))
    assert not is_sane("F32", (0, 2**62))
    assert not is_sane("F32", (1,) * 65)


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


def test_a_payload_is_the_same_for_the_same_tensors():
    a, b, c = floats(0, 3), RawTensor("U8", (3,), b"abc"), RawTensor("I64", (), bytes(8))
    assert pack_tensors({"a": a, "b": b, "c": c}) == pack_tensors({"c": c, "b": b, "a": a})
    assert unpack(pack_tensors({"a": a, "b": b, "c": c})) == {"a": a, "b": b, "c": c}
    assert unpack(pack_tensors({})) == {}


def test_the_library_reads_our_payloads_and_we_read_its():
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array(7), "z": np.zeros((0, 4), np.uint8)}
    raws = {
        "x": RawTensor("F32", (2, 3), arrays["x"].tobytes()),
        "y": RawTensor("I64", (), arrays["y"].tobytes()),
        "z": RawTensor("U8", (0, 4), b""),
    }
    ours = safetensors.numpy.load(pack_tensors(raws))
    assert all(np.array_equal(ours[name], arrays[name]) and ours[name].dtype == arrays[name].dtype for name in arrays)
    assert unpack(safetensors.numpy.save(arrays)) == raws
    odd = {"bf": RawTensor("BF16", (1,), b"\xc0\x7f"), "flag": RawTensor("BOOL", (1,), b"\1"), "b": raws["y"]}
    theirs = dict(safetensors.deserialize(pack_tensors(odd)))
    assert {name: (item["dtype"], bytes(item["data"])) for name, item in theirs.items()} == {
        name: (raw.dtype, raw.data) for name, raw in odd.items()
    }


def test_unpack_copies_only_what_is_named():
    data = pack_tensors({"a": floats(0, 3), "b": floats(1, 3)})
    assert list(unpack(data, ["b"])) == ["b"]
    with pytest.raises(StoreError, match="no tensor 'c'"):
        unpack(data, ["c"])


def test_the_name_of_the_metadata_is_taken():
    with pytest.raises(ModelError, match="__metadata__"):
        pack_tensors({"__metadata__": floats(0, 1)})


def entries(**changes):
    found = {}
    for index, name in enumerate("abcde"):
        raw = changes.get(name) or floats(index, 4)
        found[name] = describe(raw, encode(raw, None, 0), OBJECT, None)
    return found


def test_the_merkle_root_vouches_for_content_and_not_for_encoding():
    root = merkle_root(entries())
    assert root == merkle_root(dict(reversed(entries().items())))
    assert root == merkle_root({name: msgspec.structs.replace(e, object="0" * 64) for name, e in entries().items()})
    assert root != merkle_root(entries(c=floats(9, 4)))
    assert root != merkle_root(entries(e=floats(4, 2, 2)._replace(data=floats(4, 4).data)))
    assert root != merkle_root(entries(e=floats(4, 4)._replace(dtype="I32")))
    assert root != merkle_root({k: v for k, v in entries().items() if k != "e"})
    assert root != merkle_root({("f" if k == "e" else k): v for k, v in entries().items()})


def manifest(**changes):
    fields = {
        "spec": Spec("m:f", {"b": 1, "a": {"d": 1, "c": 2}}),
        "task": "classification",
        "labels": ["x", 1],
        "parent": None,
        "selection": "head@ridge",
        "data": "",
        "merkle": "0" * 64,
        "tensors": entries(),
    }
    return Manifest(**(fields | changes))


def test_the_id_depends_on_what_a_version_is():
    assert version_id(manifest()) == version_id(manifest(tensors={}))
    assert version_id(manifest()) == version_id(manifest(spec=Spec("m:f", {"a": {"c": 2, "d": 1}, "b": 1})))
    changed = [
        {"spec": Spec("m:g")},
        {"task": "regression"},
        {"labels": ["x", "1"]},
        {"labels": [1, "x"]},
        {"parent": BASE},
        {"selection": "full@sgd"},
        {"data": "1"},
        {"merkle": "1" * 64},
        {"format": "dripstone-version 2"},
    ]
    assert len({version_id(manifest(**change)) for change in [*changed, {}]}) == len(changed) + 1


def test_a_megabyte_is_encoded_in_well_under_50_ms():
    base = floats(0, 512, 512)
    raw = nudged(base, 1)
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        encode(raw, base, 0)
        best = min(best, time.process_time() - start)
    assert best < 0.05
