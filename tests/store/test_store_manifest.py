import msgspec
import pytest
from store_samples import floats

from dripstone.core.errors import ModelError, StoreError
from dripstone.core.records import Manifest, Spec
from dripstone.store import manifest as module
from dripstone.store.encoding import describe, encode
from dripstone.store.format import merkle_root, version_id
from dripstone.store.manifest import decode_manifest, encode_manifest


def sample(**changes):
    raw = floats(0, 4)
    tensors = {"w": describe(raw, encode(raw, None, 0), "ab" * 32, None)}
    fields = {
        "spec": Spec("m:f", {"a": [1, 2.5, None, "é"]}, assets={"vocab.txt": "cd" * 32}),
        "task": "classification",
        "labels": ["x", 1],
        "parent": None,
        "selection": "full",
        "data": "",
        "merkle": merkle_root(tensors),
        "tensors": tensors,
    }
    return Manifest(**(fields | changes))


def test_a_manifest_comes_back():
    assert decode_manifest(encode_manifest(sample()), version_id(sample())) == sample()


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": Spec("m:f", {"a": object()})},
        {"spec": Spec("m:f", {"a": "\ud800"})},
        {"spec": Spec("m:f", {"a": {2: "x", 10: "y"}})},
        {"labels": [True]},
        {"labels": [1.5]},
    ],
)
def test_what_no_reader_would_accept_is_not_written(changes):
    with pytest.raises(ModelError, match="m:f"):
        encode_manifest(sample(**changes))


def test_a_manifest_has_a_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(ModelError, match="too large"):
        encode_manifest(sample())


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "F8"},
        {"dtype": "../x"},
        {"shape": [-4]},
        {"shape": [2**40]},
        {"shape": [0, 2**60]},
        {"digest": "0"},
        {"object": "../../../../etc/passwd"},
        {"object": "../" + "a" * 61},
        {"depth": 17, "encoding": "xor-zstd", "base": "ab" * 32},
        {"depth": -1},
        {"depth": 1},
        {"base": "ab" * 32},
        {"encoding": "xor-zstd"},
        {"encoding": "xor-zstd", "depth": 1},
        {"encoding": "xor-zstd", "base": "ab" * 32},
        {"encoding": "xor-zstd", "base": "../x", "depth": 1},
    ],
)
def test_every_entry_is_checked(changes):
    tensors = {"w": msgspec.structs.replace(sample().tensors["w"], **changes)}
    wrong = sample(tensors=tensors, merkle=merkle_root(tensors))
    with pytest.raises(StoreError, match=r"tensor 'w'.*restore") as caught:
        decode_manifest(msgspec.json.encode(wrong), version_id(wrong))
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "dripstone-version 2"}, "has the format 'dripstone-version 2'"),
        ({"merkle": "0" * 64}, "Merkle root"),
        ({"parent": "../x"}, "its parent '../x'"),
        ({"spec": Spec("m:f", assets={"vocab.txt": "../x"})}, "asset 'vocab.txt'"),
    ],
)
def test_every_field_is_checked(changes, message):
    wrong = sample(**changes)
    with pytest.raises(StoreError, match=message):
        decode_manifest(msgspec.json.encode(wrong), version_id(wrong))


def test_an_edited_manifest_has_another_id():
    edited = encode_manifest(sample(labels=["y", 1]))
    with pytest.raises(StoreError, match="has been edited: its content has another id"):
        decode_manifest(edited, version_id(sample()))
