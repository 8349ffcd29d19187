import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from store_samples import floats

from dripstone.core.errors import ModelError, StoreError
from dripstone.core.records import Manifest, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store.encoding import describe, encode
from dripstone.store.format import is_sane, merkle_root, pack_tensors, unpack, version_id

OBJECT = "ab" * 32
BASE = "cd" * 32


def test_zero_cannot_hide_a_gigantic_shape():
    assert is_sane("F32", (0, 3))
    assert not is_sane("F32", (0, 2**62))
    assert not is_sane("F32", (1,) * 65)


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
