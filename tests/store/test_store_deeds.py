import os

import msgspec
import pytest

from dripstone.core.errors import StoreError
from dripstone.core.records import LogEntry
from dripstone.store.checks import sha256
from dripstone.store.deeds import Deed, Deeds, id_mark
from dripstone.store.refs import Log

A, B, C, D = ("ab" * 32, "bc" * 32, "cd" * 32, "de" * 32)
STATE = f"{A}-{'0' * 32}.safetensors"


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "live")
    log.append(LogEntry(1, A, "init", "", "1", "now"))
    return log


@pytest.fixture
def deeds(tmp_path, log):
    return Deeds(tmp_path / "unlearned", log)


def commit(log, deeds, deed):
    name = deeds.write(deed)
    log.append(LogEntry(deed.number, A, "unlearn", "", str(deed.number), "now", unlearned=name))
    return name


def test_a_deed_counts_from_its_log_entry_on(log, deeds):
    deed = Deed(2, ["0" * 32], {A: B}, [C], [STATE], False, 0.05, "forget:7")
    name = deeds.write(deed)
    assert deeds.read(name) == deed
    assert (deeds.committed(), deeds.pages(), deeds.current(A), deeds.superseded_states()) == ({}, {}, A, set())
    assert commit(log, deeds, deed) == name
    assert deeds.committed() == {name: deed}
    assert (deeds.pages(), deeds.current(A), deeds.superseded_states()) == ({A: B}, B, {STATE})


def test_a_deed_that_lost_the_race_never_counts(log, deeds):
    lost = deeds.write(Deed(2, pages={A: B}))
    log.append(LogEntry(2, A, "update", "", "2", "now"))
    commit(log, deeds, Deed(3, pages={A: C}))
    assert deeds.current(A) == C
    assert lost not in deeds.committed()


def test_the_latest_deed_says_what_is_read(log, deeds):
    commit(log, deeds, Deed(2, pages={A: B, C: D}))
    commit(log, deeds, Deed(3, pages={A: C}))
    again = Deeds(deeds.folder, log)
    assert [deed.number for deed in again.committed().values()] == [2, 3]
    assert (again.current(A), again.current(C), again.current(B)) == (C, D, B)
    assert again.written_pages() == {B, C, D}


def test_what_is_deleted_is_remembered(log, deeds):
    name = commit(log, deeds, Deed(2))
    assert list(deeds.unfinished()) == [name]
    deeds.mark_done(name)
    deeds.mark_done(name)
    assert deeds.unfinished() == {}
    assert list(deeds.committed()) == [name]


@pytest.mark.parametrize(
    "deed",
    [
        Deed(1),
        Deed(2, ids=["7"]),
        Deed(2, pages={A: "../x"}),
        Deed(2, pages={"x": A}),
        Deed(2, versions=["../../x"]),
        Deed(2, states=["../holdout.key"]),
        Deed(2, states=[f"{A}.safetensors"]),
        Deed(2, format="dripstone-unlearned 2"),
        Deed(2, penalty=-1.0),
        Deed(2, penalty=float("nan")),
    ],
)
def test_a_deed_that_names_what_it_must_not_is_refused(deeds, deed):
    with pytest.raises(StoreError) as caught:
        deeds.write(deed)
    assert caught.value.kind == "store.corrupt"
    data = msgspec.json.encode(deed).replace(b"null", b"0")  # what JSON makes of NaN
    os.makedirs(deeds.folder)
    (deeds.folder / sha256(data)).write_bytes(data)
    with pytest.raises(StoreError):
        deeds.read(sha256(data))


def test_a_damaged_deed_is_told(log, deeds):
    name = commit(log, deeds, Deed(2, pages={A: B}))
    path = deeds.folder / name
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":3'))
    with pytest.raises(StoreError, match="is damaged") as caught:
        Deeds(deeds.folder, log).committed()
    assert caught.value.kind == "store.corrupt"
    with pytest.raises(StoreError):
        deeds.read("../live/000001")


def test_the_log_has_to_be_readable(log, deeds):
    deeds.write(Deed(2))
    (log.folder / "000002").write_bytes(b"{")
    with pytest.raises(StoreError) as caught:
        deeds.committed()
    assert caught.value.kind == "store.corrupt"


def test_marks_are_keyed():
    assert id_mark(b"k" * 32, "7") == id_mark(b"k" * 32, "7") != id_mark(b"k" * 32, "8")
    assert id_mark(b"k" * 32, "\ud800") != id_mark(b"l" * 32, "\ud800")
