import os

import pytest
from store_samples import entry

from dripstone.core.errors import RaceLostError, StoreError, UsageError
from dripstone.store import refs
from dripstone.store.refs import Log

V = "ab" * 32


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "live")
    for number in (1, 2, 3):
        log.append(entry(number, V))
    return log


def test_an_empty_log_has_no_head(tmp_path):
    log = Log(tmp_path)
    with pytest.raises(StoreError) as caught:
        log.head()
    assert caught.value.kind == "store.empty"
    assert list(log.entries()) == []
    assert log.last() == 0


def test_entries_come_newest_first(log):
    assert [e.number for e in log.entries()] == [3, 2, 1]
    assert log.head() == entry(3, V)
    assert log.entry(2).number == 2
    assert sorted(os.listdir(log.folder)) == ["000001", "000002", "000003"]


def test_the_head_does_not_read_older_entries(log):
    for number in (1, 2):
        (log.folder / f"{number:06d}").write_bytes(b"\xff")
    assert log.head().number == 3


def test_a_lost_race_is_seen_and_says_what_to_do(log):
    with pytest.raises(
        RaceLostError, match=r"committed entry 3 .*run the same command again; nothing was lost"
    ) as caught:
        log.append(entry(3, "cd" * 32, nonce="other"))
    assert caught.value.exit_code == 3
    assert log.head() == entry(3, V)


def test_a_race_lost_long_ago_is_lost(log):
    with pytest.raises(RaceLostError):
        log.append(entry(1, V, nonce="other"))


def test_an_entry_of_ones_own_is_known_again(log):
    log.append(entry(3, V))
    assert log.last() == 3


def test_a_race_between_look_and_link_is_lost(log, monkeypatch):
    log.append(entry(4, V, nonce="winner"))
    monkeypatch.setattr(Log, "last", lambda self: 3)
    with pytest.raises(RaceLostError):
        log.append(entry(4, V, nonce="loser"))


@pytest.mark.parametrize("number", [0, -1, 5])
def test_no_entry_leaves_a_hole(log, number):
    with pytest.raises(StoreError, match="cannot follow entry 3"):
        log.append(entry(number, V))


def test_foreign_and_temporary_names_are_passed_over(log):
    for name in (".tmp-000009", "README", "000009~", "9", "0000009", "000000", "٠٠٠٠٠٩", "00000a"):
        (log.folder / name).write_bytes(b"")
    assert log.head().number == 3


def test_numbers_may_grow_beyond_six_digits(tmp_path, monkeypatch):
    log = Log(tmp_path)
    monkeypatch.setattr(Log, "last", lambda self: 999_999)
    log.append(entry(1_000_000, V))
    assert log.numbers() == [1_000_000]


def test_a_hole_is_corruption(log):
    (log.folder / "000002").unlink()
    for read in (log.head, lambda: list(log.entries()), lambda: log.append(entry(4, V))):
        with pytest.raises(StoreError, match="an entry 3 but no entry 2; restore") as caught:
            read()
        assert caught.value.kind == "store.corrupt"


def test_an_entry_that_a_listing_passed_over_is_no_hole(log, monkeypatch):
    monkeypatch.setattr(refs, "list_names", lambda folder: ["000001", "000003"])
    assert log.last() == 3


@pytest.mark.parametrize("data", [b"", b"{}", b'{"number": 3', b"\xff\xfe", b"[" * 5000, b"null"])
def test_an_unreadable_head_is_corruption(log, data):
    (log.folder / "000003").write_bytes(data)
    with pytest.raises(StoreError, match="000003") as caught:
        log.head()
    assert caught.value.kind == "store.corrupt"


def test_an_entry_under_a_wrong_number_is_corruption(log):
    (log.folder / "000003").write_bytes((log.folder / "000002").read_bytes())
    with pytest.raises(StoreError, match="says that it is number 2"):
        log.head()


@pytest.mark.parametrize("field", ["candidate", "page", "book", "certificate", "judged"])
def test_names_must_be_hashes(log, field):
    with pytest.raises(StoreError, match=r"names '\.\./x'"):
        log.append(entry(4, V, **{field: "../x"}))
    (log.folder / "000003").write_bytes((log.folder / "000003").read_bytes().replace(V.encode(), b"../x"))
    with pytest.raises(StoreError, match=r"names '\.\./x'"):
        log.head()


def test_a_reason_that_no_reader_would_accept_is_not_committed(log):
    for reason in ("\ud800", "x" * 2**20):
        with pytest.raises(UsageError):
            log.append(refs.LogEntry(4, V, "update", reason, "n", ""))
    assert log.last() == 3
