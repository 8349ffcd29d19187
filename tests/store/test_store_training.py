import os
import time

import pytest
from store_samples import book, floats, page

from dripstone.core.errors import StoreError
from dripstone.core.tensors import RawTensor
from dripstone.store.refs import Log
from dripstone.store.state import TrainingState
from dripstone.store.training import Training

V, W = "ab" * 32, "cd" * 32


@pytest.fixture
def training(tmp_path):
    return Training(tmp_path, Log(tmp_path / "live"))


def state(version=V, seed=0):
    known, statistics = RawTensor("I64", (0,), b""), {"gram": floats(seed, 4, 4)}
    return TrainingState(version, "", [], None, None, version, [], seed, known, statistics)


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_pages_and_books_come_back(training):
    name = training.write_page(page(1))
    assert training.write_page(page(1)) == name
    assert training.read_page(name) == page(1)
    other = training.write_book(book(name))
    assert training.read_book(other) == book(name)


def test_damage_is_named(training, tmp_path):
    name = training.write_page(page(1))
    path = tmp_path / "ledger" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"{name} is damaged.*restore"):
        training.read_page(name)
    with pytest.raises(StoreError, match="there is no"):
        training.read_book(name)
    with pytest.raises(StoreError, match="cannot be the name"):
        training.read_page("../holdout.key")


def test_a_page_is_no_book(training, tmp_path):
    name = training.write_page(page(1))
    (tmp_path / "books").mkdir()
    (tmp_path / "ledger" / name).rename(tmp_path / "books" / name)
    with pytest.raises(StoreError, match="a ledger book cannot be read"):
        training.read_book(name)


def test_the_newest_whole_state_is_read(training, tmp_path):
    assert training.read_state(V) is None
    training.write_state(state(seed=1))
    (old,) = (tmp_path / "state").iterdir()
    age(old, 100)
    training.write_state(state(seed=2))
    reader = Training(tmp_path, Log(tmp_path / "live"))
    assert reader.read_state(V) == state(seed=2)
    (new,) = set((tmp_path / "state").iterdir()) - {old}
    new.write_bytes(new.read_bytes()[:-1])
    age(new, 50)
    assert reader.read_state(V) == state(seed=1)
    old.write_bytes(b"")
    assert reader.read_state(V) is None


def test_the_state_that_was_written_last_is_not_read_again(training, tmp_path):
    written = state()
    training.write_state(written)
    assert training.read_state(V) is written
    training.write_state(state(W))
    assert training.read_state(V) is not written
    assert training.read_state(V) == written
    assert training.prune_states(set()) == 2
    assert training.read_state(W) is None


def test_a_state_of_another_version_is_not_believed(training, tmp_path):
    training.write_state(state())
    (path,) = (tmp_path / "state").iterdir()
    path.rename(path.with_name(path.name.replace(V, W)))
    assert training.read_state(W) is None


def test_states_are_pruned_by_version(training, tmp_path):
    for version in (V, W):
        training.write_state(state(version))
    (tmp_path / "state" / "README").write_bytes(b"")
    assert training.prune_states({W}) == 1
    assert training.read_state(V) is None
    assert training.read_state(W) == state(W)
    assert (tmp_path / "state" / "README").exists()


def test_only_old_superseded_books_are_swept(training, tmp_path):
    kept, young, old = (training.write_book(book("", number)) for number in range(3))
    for name in (kept, old):
        age(tmp_path / "books" / name, 7200)
    assert training.sweep_books([kept], 3600) == 1
    assert sorted(os.listdir(tmp_path / "books")) == sorted([kept, young])


def test_a_book_that_is_written_again_is_young_again(training, tmp_path):
    name = training.write_book(book(""))
    age(tmp_path / "books" / name, 7200)
    training.write_book(book(""))
    assert training.sweep_books([], 3600) == 0
