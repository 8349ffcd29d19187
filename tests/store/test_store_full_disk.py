"""The disk fills up at every single write and sync of an update: nothing that counts changes."""

import pytest
from store_samples import commit, floats, nudged, temporary_files

from dripstone.core.errors import StoreError
from dripstone.store.repository import Repository
from full_disk import Disk


def prepared(folder):
    repository = Repository.create(folder)
    head = floats(0, 16, 16)
    return repository, head, commit(repository, 1, {"head": head, "body": floats(1, 16)})


def calls_of_an_update(folder):
    with pytest.MonkeyPatch.context() as monkeypatch:
        repository, head, first = prepared(folder)
        disk = Disk(monkeypatch)
        commit(repository, 2, {"head": nudged(head, 1)}, first)
        return disk.calls


def test_a_full_disk_at_any_call_leaves_the_store_as_it_was(tmp_path):
    total = calls_of_an_update(tmp_path / "count")
    assert total > 20
    for call in range(1, total + 1):
        repository, head, first = prepared(tmp_path / str(call))
        before = repository.log.head()
        with pytest.MonkeyPatch.context() as monkeypatch:
            Disk(monkeypatch, call)
            with pytest.raises(StoreError, match="free space") as caught:
                commit(repository, 2, {"head": nudged(head, 1)}, first)
        assert caught.value.kind == "store.full"
        assert temporary_files(repository.path) == []
        assert list(repository.verify()) == []
        # The last call syncs the folder after the entry got its name. Others may have seen it, so it stands.
        assert repository.log.head() == before or call == total
        if call < total:
            commit(repository, 2, {"head": nudged(head, 1)}, first)
        assert repository.log.head().number == 2
        assert list(repository.verify()) == []


def test_a_full_disk_while_a_store_is_made_leaves_no_temporary_file(tmp_path):
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = Disk(monkeypatch)
        Repository.create(tmp_path / "count")
        total = disk.calls
    for call in range(1, total):
        with pytest.MonkeyPatch.context() as monkeypatch:
            Disk(monkeypatch, call)
            with pytest.raises(StoreError):
                Repository.create(tmp_path / str(call))
        assert temporary_files(tmp_path) == []
