import tracemalloc

import msgspec
import pytest
from store_samples import floats, nudged, write

from dripstone.core.errors import ModelError, StoreError, UsageError
from dripstone.core.tensors import RawTensor
from dripstone.store.encoding import MAX_DEPTH
from dripstone.store.repository import Repository


@pytest.fixture
def repository(tmp_path):
    return Repository.create(tmp_path / "store")


def test_a_child_holds_only_what_changed(repository):
    body, head = floats(0, 64, 64), floats(1, 4, 64)
    root = write(repository, {"body": body, "head": head})
    assert root.delta_bytes > len(body.data) / 2
    child = write(repository, {"head": nudged(head, 1)}, root.version)
    old, new = repository.manifest(root.version), repository.manifest(child.version)
    assert new.tensors["body"] == old.tensors["body"]
    assert new.tensors["head"].base == root.version
    assert child.delta_bytes < 2500
    assert repository.read_tensors(child.version) == {"body": body, "head": nudged(head, 1)}
    assert repository.read_tensors(root.version) == {"body": body, "head": head}


def test_the_same_content_has_the_same_id(repository):
    head = floats(0, 8, 8)
    first = write(repository, {"head": head})
    assert write(repository, {"head": head}) == first
    assert write(repository, {"head": head}, data="0" * 64).version != first.version


def test_tensors_that_did_not_change_are_not_stored_again(repository):
    tensors = {"a": floats(0, 64, 64), "b": floats(1, 64, 64)}
    root = write(repository, tensors)
    child = write(repository, tensors, root.version)
    assert child.version != root.version
    assert child.delta_bytes < 1000
    assert repository.manifest(child.version).tensors == repository.manifest(root.version).tensors
    reshaped = write(repository, {"a": tensors["a"]._replace(shape=(64 * 64,))}, root.version)
    assert repository.read_tensors(reshaped.version, ["a"])["a"].shape == (64 * 64,)


def test_no_chain_is_longer_than_the_limit(repository):
    head = floats(0, 16, 16)
    version, depths = write(repository, {"head": head}).version, []
    for step in range(2 * MAX_DEPTH + 3):
        head = nudged(head, step)
        version = write(repository, {"head": head}, version).version
        depths.append(repository.manifest(version).tensors["head"].depth)
        assert repository.read_tensors(version)["head"] == head
    assert max(depths) == MAX_DEPTH
    assert depths.count(0) >= 1


def test_a_layer_may_grow_and_a_tensor_may_be_new(repository):
    head = floats(0, 4, 32)
    root = write(repository, {"head": head}).version
    grown = RawTensor("F32", (6, 32), head.data + bytes(256))
    new = {"head": grown, "extra": RawTensor("BF16", (), b"\x80\x3f"), "empty": RawTensor("I64", (0, 3), b"")}
    child = write(repository, new, root, labels=["a", "b", "c"]).version
    assert repository.read_tensors(child) == new
    assert repository.manifest(child).tensors["head"].encoding == "xor-zstd"


def test_only_named_tensors_are_read(repository):
    version = write(repository, {"a": floats(0, 3), "b": floats(1, 3)}).version
    assert list(repository.read_tensors(version, ["b"])) == ["b"]
    assert repository.read_tensors(version, []) == {}
    with pytest.raises(UsageError, match="no tensor 'c'"):
        repository.read_tensors(version, ["c"])


def test_a_large_version_is_written_and_read_in_little_more_memory_than_its_payload(repository):
    tensors = {f"{i:02}": floats(i, 2**16) for i in range(32)}
    tracemalloc.start()
    version = write(repository, tensors).version
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    found = [name for name, raw in repository.each_tensor(version) if raw == tensors[name]]
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(found) == sorted(tensors)
    assert max(writing, reading) < 1.25 * 32 * 2**18


def test_an_existing_manifest_that_is_damaged_is_not_taken_for_whole(repository):
    version = write(repository, {"a": floats(0, 3)}).version
    (repository.path / "versions" / version / "manifest.json").write_bytes(b"{}")
    with pytest.raises(StoreError, match="manifest"):
        write(repository, {"a": floats(0, 3)})


def test_another_encoding_of_the_same_version_is_fine(repository):
    stored = write(repository, {"a": RawTensor("F32", (1000,), bytes(4000))})
    path = repository.path / "versions" / stored.version / "manifest.json"
    manifest = repository.manifest(stored.version)
    entry = msgspec.structs.replace(manifest.tensors["a"], object="ab" * 32)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, tensors={"a": entry})))
    assert write(repository, {"a": RawTensor("F32", (1000,), bytes(4000))}).version == stored.version


def test_a_tensor_must_have_the_bytes_of_its_shape(repository):
    with pytest.raises(ModelError):
        write(repository, {"a": RawTensor("F32", (3,), b"")})
    assert repository.versions() == []


def test_a_parent_must_be_there(repository):
    with pytest.raises(StoreError, match="there is no"):
        write(repository, {"a": floats(0, 3)}, "ab" * 32)
    with pytest.raises(UsageError, match="no full id"):
        write(repository, {"a": floats(0, 3)}, "../x")


def test_a_folder_without_a_manifest_is_no_version(repository):
    version = write(repository, {"a": floats(0, 3)}).version
    (repository.path / "versions" / ("0" * 64)).mkdir()
    (repository.path / "versions" / "README").write_bytes(b"")
    assert repository.versions() == [version]
