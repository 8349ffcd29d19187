"""The only place that writes: whole files or none, durable before anyone can name them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dripstone.core.errors import StoreError

TEMP_PREFIX = ".tmp-"

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def write_new(path: Path, *parts: bytes | memoryview, mode: int = 0o644) -> None:
    """Create a file that was not there, whole and durable, or not at all.

    Parameters
    ----------
    path : Path
        Its final name. Missing folders are made.
    *parts : bytes or memoryview
        Everything it holds, one after another.
    mode : int
        Its permission bits.

    Raises
    ------
    FileExistsError
        If the name is taken. Whoever links first has won; nothing is overwritten.
    StoreError
        ``store.full``, ``store.readonly``, ``store.no_links`` or ``store.io``. Only when the last step failed, the
        sync of the folder, is the file there all the same: a name that others have seen cannot be taken back.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_new(folder / "a" / "b", b"hello")
    >>> read_bounded(folder / "a" / "b", 100)
    b'hello'
    """
    with disk_errors(path):
        make_folder(path.parent)
        with _temp_file(path.parent, parts, mode) as temp:
            _link(temp, path)
        _sync_folder(path.parent)


def write_once(path: Path, *parts: bytes | memoryview) -> None:
    """Create a file whose name is decided by its content: a whole one that is there already is as good.

    Parameters
    ----------
    path : Path
        Its final name, which holds the hash of the parts.
    *parts : bytes or memoryview
        Everything it holds, one after another. A file of another size (torn by a failing disk) is replaced.

    Raises
    ------
    StoreError
        As for `write_new`.
    """
    size = sum(len(part) for part in parts)
    with disk_errors(path):
        if not _is_whole(path, size):
            try:
                write_new(path, *parts)
            except FileExistsError:
                if not _is_whole(path, size):
                    _replace(path, parts)
        # The winner of a race may not have synced the folder yet, and what we commit next relies on this name.
        _sync_folder(path.parent)


def write_over(path: Path, *parts: bytes | memoryview, mode: int = 0o644) -> None:
    """Put a whole and durable file in the place of whatever has the name, in one step.

    Nothing of a store is written so: its names are decided once. Settings, and pictures, are a user's.

    Raises
    ------
    StoreError
        As for `write_new`; the old file is as it was then.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "settings"
    >>> write_over(path, b"old")
    >>> write_over(path, b"new")
    >>> read_bounded(path, 100)
    b'new'
    """
    with disk_errors(path):
        make_folder(path.parent)
        _replace(path, parts, mode)
        _sync_folder(path.parent)


def renew(path: Path) -> None:
    """Make a file look just written, so that a sweep by age passes it by."""
    with disk_errors(path):
        os.utime(path, follow_symlinks=False)


def remove(path: Path) -> None:
    """Delete a file; one that is gone already is fine."""
    with disk_errors(path):
        path.unlink(missing_ok=True)


def sync_folders(folders: Iterable[Path]) -> None:
    """Make it durable that names are gone from folders; a folder that is gone itself is fine."""
    for folder in folders:
        with disk_errors(folder), contextlib.suppress(FileNotFoundError):
            _sync_folder(folder)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, durably."""
    with disk_errors(path):
        if path.is_dir():
            return
        make_folder(path.parent)
        try:
            os.mkdir(path)
        except FileExistsError:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file is where a folder belongs", str(path)) from None
        _sync_folder(path.parent)


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes. Symbolic links are refused.

    Raises
    ------
    StoreError
        ``store.missing``, ``store.too_large``, ``store.corrupt`` (no regular file, or cut while it was read) or
        ``store.io``.
    """
    try:
        with disk_errors(path):
            return _read(path, limit)
    except MemoryError as error:
        raise StoreError(
            f"{path} does not fit into memory", remedy="free memory, or use a larger machine", kind="store.too_large"
        ) from error


def is_there(path: Path) -> bool:
    """Whether a name is taken, be it by a link that leads nowhere."""
    with disk_errors(path):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def file_size(path: Path) -> int:
    """Bytes of a file on disk."""
    with disk_errors(path):
        return os.lstat(path).st_size


def list_names(folder: Path) -> list[str]:
    """Names in a folder, sorted, without temporary files; a folder that is not there has none."""
    with disk_errors(folder):
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith(TEMP_PREFIX))
        except FileNotFoundError:
            return []


def older_than(path: Path, seconds: float) -> bool:
    """Whether a file was last written more than ``seconds`` ago; one that is gone was not."""
    with disk_errors(path):
        try:
            return time.time() - os.lstat(path).st_mtime > seconds
        except FileNotFoundError:
            return False


def sweep(folder: Path, older_than_seconds: float) -> int:
    """Remove temporary files that a killed writer left behind, in a folder and all below it.

    Returns
    -------
    int
        How many were removed. Younger ones may belong to a writer that is alive.
    """
    swept = 0
    for parent, _, names in os.walk(folder):
        for path in [Path(parent, name) for name in names if name.startswith(TEMP_PREFIX)]:
            if older_than(path, older_than_seconds):
                remove(path)
                swept += 1
    return swept


@contextlib.contextmanager
def _temp_file(folder: Path, parts: Sequence[bytes | memoryview], mode: int) -> Iterator[Path]:
    temp = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    try:
        _write_synced(temp, parts, mode)
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def _write_synced(path: Path, parts: Sequence[bytes | memoryview], mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _link(temp: Path, path: Path) -> None:
    try:
        os.link(temp, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StoreError(
            f"the filesystem under {path.parent} has no hard links, without which a store cannot be written safely",
            remedy="put the store on a local filesystem such as ext4, xfs, btrfs or apfs",
            kind="store.no_links",
        ) from error


def _replace(path: Path, parts: Sequence[bytes | memoryview], mode: int = 0o644) -> None:
    with _temp_file(path.parent, parts, mode) as temp:
        os.replace(temp, path)


def _is_whole(path: Path, size: int) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, limit: int) -> bytes:
    # O_NONBLOCK: a named pipe in the store must not hang the reader.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file(path)
        if status.st_size > limit:
            raise StoreError(
                f"{path} has {status.st_size:,} bytes where at most {limit:,} belong",
                remedy="restore that file from a copy of the store",
                kind="store.too_large",
            )
        with open(handle, "rb", closefd=False) as file:
            data = file.read(status.st_size)
    finally:
        os.close(handle)
    if len(data) != status.st_size:
        raise StoreError(
            f"{path} was cut while it was read",
            remedy="let only dripstone write to the store, then run the same command again",
            kind="store.corrupt",
        )
    return data


def _not_a_file(path: Path) -> StoreError:
    return StoreError(
        f"{path} is a link or a special file where a plain file belongs",
        remedy="put the plain file back in its place; a store never holds links",
        kind="store.corrupt",
    )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says into who has to do what. A taken name is news for the caller, not an error."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise _translate(error, path) from error


def _translate(error: OSError, path: Path) -> StoreError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StoreError(
            f"there is no {path} ({error.strerror})",
            remedy="restore that file from a copy of the store, or name another store",
            kind="store.missing",
        )
    if error.errno == errno.ELOOP:
        return _not_a_file(path)
    if error.errno in _FULL:
        return StoreError(
            f"the disk is full: {path} could not be written",
            remedy="free space on that disk and run the same command again; nothing is lost",
            kind="store.full",
        )
    if error.errno in _READ_ONLY:
        return StoreError(
            f"{path} may not be read or written ({error.strerror})",
            remedy="give this user the right to write there, or copy the store to where it has it",
            kind="store.readonly",
        )
    return StoreError(
        f"{path} could not be read or written ({error.strerror})",
        remedy="check the disk under the store, then run the same command again",
        kind="store.io",
    )
