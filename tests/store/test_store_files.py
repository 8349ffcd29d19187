import errno
import os
import time

import pytest
from store_samples import temporary_files

from dripstone.core.errors import StoreError
from dripstone.store import files
from dripstone.store.files import list_names, make_folder, read_bounded, remove, sweep, write_new, write_once


def test_write_new_makes_folders_and_writes_everything(tmp_path):
    write_new(tmp_path / "a" / "b" / "c", b"hello", mode=0o600)
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"hello"
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o600
    assert not temporary_files(tmp_path)


def test_write_new_never_overwrites(tmp_path):
    write_new(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert not temporary_files(tmp_path)


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:3]))
    write_new(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_the_file_is_synced_before_it_is_named_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real, name=name: (calls.append(name), real(*args))[1])
    write_new(tmp_path / "a", b"hello")
    assert calls == ["fsync", "link", "fsync"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "store.full"),
        (errno.EDQUOT, "store.full"),
        (errno.EROFS, "store.readonly"),
        (errno.EACCES, "store.readonly"),
        (errno.EIO, "store.io"),
    ],
)
def test_what_the_system_says_becomes_a_remedy(tmp_path, monkeypatch, number, kind):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(StoreError) as caught:
        write_new(tmp_path / "a", b"hello")
    assert caught.value.kind == kind
    assert caught.value.remedy
    assert str(tmp_path / "a") in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch, call):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_new(tmp_path / "a", b"hello")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_filesystem_without_hard_links_is_refused(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StoreError, match=r"has no hard links.*local filesystem") as caught:
        write_new(tmp_path / "a", b"hello")
    assert caught.value.kind == "store.no_links"
    assert os.listdir(tmp_path) == []


def test_write_once_takes_a_whole_file_as_its_own(tmp_path, monkeypatch):
    write_once(tmp_path / "a", b"hello")
    monkeypatch.setattr(os, "write", None)
    write_once(tmp_path / "a", b"hello")


@pytest.mark.parametrize("torn", [b"", b"hel"])
def test_write_once_replaces_a_torn_file(tmp_path, torn):
    (tmp_path / "a").write_bytes(torn)
    write_once(tmp_path / "a", b"hello")
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert not temporary_files(tmp_path)


def test_write_once_replaces_a_link_and_leaves_its_target(tmp_path):
    (tmp_path / "target").write_bytes(b"abcde")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    write_once(tmp_path / "a", b"hello")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"abcde"


def test_write_once_may_lose_a_race(tmp_path, monkeypatch):
    real = os.link

    def lose(source, target):
        files.Path(target).write_bytes(b"hello")
        real(source, target)

    monkeypatch.setattr(os, "link", lose)
    write_once(tmp_path / "a", b"hello")
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert not temporary_files(tmp_path)


def test_a_file_where_a_folder_belongs(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StoreError, match="a file is where a folder belongs"):
        make_folder(tmp_path / "a")
    with pytest.raises(StoreError):
        write_new(tmp_path / "a" / "b", b"hello")
    with pytest.raises(StoreError):
        list_names(tmp_path / "a")


def test_reading_is_bounded(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    assert read_bounded(tmp_path / "a", 5) == b"hello"
    with pytest.raises(StoreError, match="5 bytes where at most 4") as caught:
        read_bounded(tmp_path / "a", 4)
    assert caught.value.kind == "store.too_large"
    with pytest.raises(StoreError) as caught:
        read_bounded(tmp_path / "b", 4)
    assert caught.value.kind == "store.missing"


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "real").write_bytes(b"hello")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(StoreError, match="a plain file belongs") as caught:
            read_bounded(tmp_path / name, 100)
        assert caught.value.kind == "store.corrupt"


def test_temporary_files_are_not_listed_and_old_ones_are_swept(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, age in [("sub/.tmp-old", 7200), ("sub/.tmp-young", 0), ("sub/kept", 7200)]:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert list_names(tmp_path / "sub") == ["kept"]
    assert sweep(tmp_path, 3600) == 1
    assert sorted(os.listdir(tmp_path / "sub")) == [".tmp-young", "kept"]
    remove(tmp_path / "sub" / "kept")
    remove(tmp_path / "sub" / "kept")
    assert list_names(tmp_path / "nowhere") == []
