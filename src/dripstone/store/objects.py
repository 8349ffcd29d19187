"""Immutable bytes, named by their SHA-256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dripstone.store.checks import corrupt, is_hash, sha256
from dripstone.store.files import file_size, list_names, read_bounded, renew, write_once


class Objects:
    """The folder of objects.

    Parameters
    ----------
    folder : Path
        Holds ``ab/<64 hexadecimal digits>``, where ``ab`` are the first two digits.

    Examples
    --------
    >>> import tempfile
    >>> objects = Objects(Path(tempfile.mkdtemp()))
    >>> name = objects.put(b"hello")
    >>> objects.get(name, limit=100), objects.size(name), list(objects.all()) == [name]
    (b'hello', 5, True)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, *parts: bytes | memoryview) -> str:
        """Store bytes, given in parts, once, and return their name."""
        name = sha256(*parts)
        path = self.path(name)
        write_once(path, *parts)
        renew(path)  # it may have been here, with nothing that refers to it any more, and about to be deleted
        return name

    def get(self, name: str, limit: int) -> bytes:
        """Read an object of at most ``limit`` bytes and verify it.

        Raises
        ------
        StoreError
            ``store.missing``, ``store.too_large``, or ``store.corrupt`` if the bytes are not those of the name.
        """
        path = self.path(name)
        data = read_bounded(path, limit)
        if sha256(data) != name:
            raise corrupt(f"object {name} is damaged: {path} does not hold the bytes it is named after")
        return data

    def size(self, name: str) -> int:
        """Bytes of an object on disk, not verified."""
        return file_size(self.path(name))

    def all(self) -> Iterator[str]:
        """Names of all objects, sorted; foreign files are passed over."""
        for prefix in list_names(self.folder):
            if len(prefix) == 2:
                yield from (n for n in list_names(self.folder / prefix) if is_hash(n) and n.startswith(prefix))

    def path(self, name: str) -> Path:
        """Where an object lies. The name is checked first, so that it cannot lead out of the folder."""
        if not is_hash(name):
            raise corrupt(f"{name!r} cannot be the name of an object: it is not 64 hexadecimal digits")
        return self.folder / name[:2] / name
