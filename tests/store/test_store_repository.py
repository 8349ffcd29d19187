import os
import time

import pytest
from store_samples import book, commit, entry, floats, nudged, page, temporary_files, update, write

from dripstone.core.errors import ModelError, StoreError, UsageError
from dripstone.core.records import Evidence, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store import repository as module
from dripstone.store.repository import KEPT_BOOKS, Repository
from dripstone.store.state import TrainingState


@pytest.fixture
def repository(tmp_path):
    return Repository.create(tmp_path / "store")


def test_create_makes_the_layout(repository):
    assert (repository.path / "format").read_text() == "dripstone-store 1\n"
    key = repository.path / "training" / "holdout.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(repository.holdout_key) == 32
    assert Repository.open(str(repository.path)).holdout_key == repository.holdout_key
    assert not temporary_files(repository.path)


def test_create_refuses_what_is_there(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "dangling"):
        with pytest.raises(StoreError) as caught:
            Repository.create(tmp_path / name)
        assert caught.value.kind == "store.exists"
    (tmp_path / "empty").mkdir()
    Repository.create(tmp_path / "empty")


def test_a_half_made_store_does_not_open(tmp_path, monkeypatch):
    real = module.write_new

    def die(path, *args, **kwargs):
        if path.name == "format":
            raise KeyboardInterrupt
        real(path, *args, **kwargs)

    monkeypatch.setattr(module, "write_new", die)
    with pytest.raises(KeyboardInterrupt):
        Repository.create(tmp_path / "store")
    with pytest.raises(StoreError, match="no dripstone store") as caught:
        Repository.open(tmp_path / "store")
    assert caught.value.kind == "store.missing"


@pytest.mark.parametrize("line", [b"dripstone-store 2\n", b"dripstone-store 1", b"", b"\xff"])
def test_another_format_is_refused(repository, line):
    (repository.path / "format").write_bytes(line)
    with pytest.raises(StoreError) as caught:
        Repository.open(repository.path)
    assert caught.value.kind == "store.format"


@pytest.mark.parametrize("key", [b"", b"x" * 31])
def test_a_cut_key_is_refused(repository, key):
    (repository.path / "training" / "holdout.key").write_bytes(key)
    with pytest.raises(StoreError, match=r"holdout\.key"):
        _ = repository.holdout_key


def test_assets_are_stored_and_children_keep_them(repository):
    root = write(repository, {"a": floats(0, 3)}, assets={"vocab.txt": b"hello", "empty": b""})
    spec = repository.manifest(root.version).spec
    assert {name: repository.read_asset(asset) for name, asset in spec.assets.items()} == {
        "vocab.txt": b"hello",
        "empty": b"",
    }
    child = write(repository, {"a": floats(1, 3)}, root.version, spec=spec)
    assert repository.manifest(child.version).spec == spec


def test_an_asset_has_a_limit(repository, monkeypatch):
    monkeypatch.setattr(module, "_MAX_ASSET_BYTES", 3)
    with pytest.raises(ModelError, match=r"'vocab\.txt' is larger"):
        write(repository, {}, assets={"vocab.txt": b"hello"})


def test_a_spec_that_is_no_json_is_refused(repository):
    with pytest.raises(ModelError, match="cannot be stored"):
        write(repository, {}, spec=Spec("m:f", {"a": object()}))
    assert repository.versions() == []


def test_resolve_takes_what_people_type(repository):
    first = commit(repository, 1, {"a": floats(0, 3)})
    second = write(repository, {"a": floats(1, 3)}).version
    assert repository.resolve("live") == first
    assert repository.resolve(second) == second
    assert repository.resolve(second[:8]) == second
    assert repository.resolve(second[:8].upper()) == second


@pytest.mark.parametrize("text", ["", "abc", "main", "../x", "0" * 64, "00000", "a" * 65])
def test_resolve_says_where_to_look(repository, text):
    commit(repository, 1, {"a": floats(0, 3)})
    with pytest.raises(UsageError, match="see 'dripstone log'"):
        repository.resolve(text)


def test_an_ambiguous_prefix_lists_what_it_fits(repository, monkeypatch):
    versions = ["abcd" + "0" * 60, "abcd" + "1" * 60]
    monkeypatch.setattr(Repository, "versions", lambda self: versions)
    with pytest.raises(UsageError, match="fits 2 versions: abcd000000000000, abcd111111111111; give more digits"):
        repository.resolve("abcd")


def test_records_come_oldest_first(repository):
    version = write(repository, {"a": floats(0, 3)}).version
    assert repository.records(version) == []
    assert repository.read_record(version, 1, "aa") is None
    for number, nonce in [(10, "aa"), (2, "bb"), (2, "ab")]:
        repository.write_record(version, number, nonce, update(version, number=number, selection=nonce))
    repository.write_candidate_page(version, "ab" * 32)
    assert [(u.number, u.selection) for u in repository.records(version)] == [(2, "ab"), (2, "bb"), (10, "aa")]
    assert repository.read_record(version, 10, "aa").number == 10


def test_a_record_is_create_only(repository):
    version = write(repository, {"a": floats(0, 3)}).version
    repository.write_record(version, 1, "aa", update(version))
    repository.write_record(version, 1, "aa", update(version))
    with pytest.raises(StoreError, match="holds another report"):
        repository.write_record(version, 1, "aa", update(version, number=5))
    with pytest.raises(UsageError, match="cannot be a nonce"):
        repository.write_record(version, 1, "../x", update(version))
    with pytest.raises(UsageError, match="finite numbers"):
        repository.write_record(version, 1, "bb", update(version, evidence=Evidence(wealth=float("inf"))))
    assert len(repository.records(version)) == 1


def test_the_first_page_of_a_candidate_stays(repository):
    version = write(repository, {"a": floats(0, 3)}).version
    assert repository.page_of(version) is None
    for name in ("ab" * 32, "cd" * 32):
        repository.write_candidate_page(version, name)
    assert repository.page_of(version) == "ab" * 32


def test_training_is_within_reach(repository):
    name = repository.write_page(page(1))
    assert repository.read_page(name) == page(1)
    assert repository.read_book(repository.write_book(book(name))) == book(name)
    version = "ab" * 32
    state = TrainingState(version, "", [], None, None, version, [], 0, RawTensor("I64", (0,), b""), {})
    repository.write_state(state)
    assert repository.read_state(version) == state
    assert repository.prune_states(set()) == 1
    assert repository.read_state(version) is None


def age_everything(folder):
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)


def test_sweep_keeps_the_last_books_and_everything_else(repository):
    head = floats(0, 8)
    version = None
    for number in range(1, KEPT_BOOKS + 4):
        head = nudged(head, number)
        version = commit(repository, number, {"head": head}, version)
    repository.write_book(book("", 99))
    (repository.path / "objects" / ".tmp-killed").write_bytes(b"half")
    assert repository.sweep() == 0
    age_everything(repository.path)
    assert repository.sweep() == 1 + 3 + 1
    assert list(repository.verify()) == []
    assert len(os.listdir(repository.path / "training" / "books")) == KEPT_BOOKS
    assert repository.read_book(repository.log.head().book).tested == KEPT_BOOKS + 2
    assert repository.read_tensors(version)["head"] == head


def test_an_empty_store_can_be_swept(repository):
    assert repository.sweep() == 0


def test_a_revert_is_one_more_entry(repository):
    first = commit(repository, 1, {"a": floats(0, 3)})
    commit(repository, 2, {"a": floats(1, 3)}, first)
    certificate = repository.log.entry(1).certificate
    repository.log.append(entry(3, first, event="revert", certificate=certificate))
    assert repository.log.head().version == first
    assert list(repository.verify()) == []


def test_nothing_here_imports_torch():
    import subprocess
    import sys

    code = "import dripstone.store.repository, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
