"""The folder ``training``: ledger pages, books, and the cached training states."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from dripstone.core.errors import StoreError
from dripstone.store.checks import corrupt, is_hash, sha256
from dripstone.store.deeds import STATE_NAME, Deeds
from dripstone.store.files import is_there, list_names, older_than, read_bounded, remove, renew, write_once
from dripstone.store.format import MAX_PAYLOAD_BYTES
from dripstone.store.ledger import (
    MAX_PLAIN_BYTES,
    Book,
    Page,
    decode_book,
    decode_page,
    encode_book,
    encode_page,
)
from dripstone.store.refs import Log
from dripstone.store.state import TrainingState, decode_state, encode_state


class Training:
    """What training needs and serving never reads.

    Parameters
    ----------
    folder : Path
        Holds ``ledger``, ``books`` and ``state``, and ``unlearned`` with the deeds.
    log : Log
        Says which deeds count.
    instead : mapping of str to Page
        Pages that are read in place of stored ones, by name: what a deed would leave that is not committed yet.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> training = Training(folder, Log(folder / "live"))
    >>> training.read_book(training.write_book(Book(tested=3))).tested
    3
    """

    def __init__(self, folder: Path, log: Log, instead: Mapping[str, Page] | None = None) -> None:
        self.folder = folder
        self.deeds = Deeds(folder / "unlearned", log)
        self.instead = dict(instead or {})
        self._written: tuple[Path, TrainingState] | None = None

    def write_page(self, page: Page) -> str:
        """Store a page and return its name, which is none under which another page is read by now."""
        data, redacted = encode_page(page), self.deeds.pages()
        while redacted and sha256(data) in redacted:  # rows that were unlearned have come back just as they were
            page = msgspec.structs.replace(page, again=1 if page.again is msgspec.UNSET else page.again + 1)
            data = encode_page(page)
        return self._write("ledger", data)

    def read_page(self, name: str) -> Page:
        """Read a page and verify it; of one that was redacted, what stands in its place."""
        if name in self.instead:
            return self.instead[name]
        return decode_page(self._read("ledger", self.deeds.current(name)))

    def pages(self) -> list[str]:
        """Names of all pages, as log entries, books and other pages have them, sorted."""
        replaced, written = self.deeds.pages(), self.deeds.written_pages()
        found = {name for name in list_names(self.folder / "ledger") if is_hash(name)}
        return sorted((found - written) | replaced.keys())

    def write_book(self, book: Book) -> str:
        """Store a book and return its name."""
        name = self._write("books", encode_book(book))
        # An older log entry may have had the same book: a sweep must not take it for superseded before our commit.
        renew(self.folder / "books" / name)
        return name

    def read_book(self, name: str) -> Book:
        """Read a book and verify it."""
        return decode_book(self._read("books", name))

    def sweep_books(self, keep: Collection[str], older_than_seconds: float) -> int:
        """Remove books that are neither kept nor young enough to belong to an update that is under way."""
        swept = 0
        for name in list_names(self.folder / "books"):
            path = self.folder / "books" / name
            if is_hash(name) and name not in keep and older_than(path, older_than_seconds):
                remove(path)
                swept += 1
        return swept

    def write_state(self, state: TrainingState) -> None:
        """Keep a training state beside its version, and in memory until the next one is written."""
        parts = encode_state(state)
        path = self.folder / "state" / f"{state.version}-{sha256(*parts)[:32]}.safetensors"
        write_once(path, *parts)
        self._written = path, state

    def read_state(self, version: str) -> TrainingState | None:
        """The newest whole state of a version; None if there is none, for the ledger can rebuild it.

        The one that was written last is not read again while its file is there: many updates in one process spare that.
        """
        superseded = self.deeds.superseded_states()
        if self._written is not None:
            path, state = self._written
            if path.name in superseded:
                self._written = None
            elif state.version == version and is_there(path):
                return state
        kept = [name for name, owner in self.states() if owner == version and name not in superseded]
        paths = [self.folder / "state" / name for name in kept]
        for path in sorted(paths, key=_age):
            try:
                return _read_state(path, version)
            except StoreError as error:
                if error.kind not in ("store.corrupt", "store.missing", "store.too_large"):
                    raise
        return None

    def prune_states(self, keep: Collection[str]) -> int:
        """Remove the states of all versions but these, and return how many files that were."""
        gone = [name for name, owner in self.states() if owner not in keep]
        for name in gone:
            remove(self.folder / "state" / name)
        return len(gone)

    def states(self) -> list[tuple[str, str]]:
        """The files of training states, each with the version that it belongs to."""
        matches = [STATE_NAME.fullmatch(name) for name in list_names(self.folder / "state")]
        return [(match[0], match[1]) for match in matches if match]

    def _write(self, kind: str, data: bytes) -> str:
        name = sha256(data)
        write_once(self.folder / kind / name, data)
        return name

    def _read(self, kind: str, name: str) -> bytes:
        if not is_hash(name):
            raise corrupt(f"{name!r} cannot be the name of a file in {kind}: it is not 64 hexadecimal digits")
        path = self.folder / kind / name
        data = read_bounded(path, MAX_PLAIN_BYTES)
        if sha256(data) != name:
            raise corrupt(f"{path} is damaged: it does not hold the bytes it is named after")
        return data


def _age(path: Path) -> float:
    try:
        return -os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _read_state(path: Path, version: str) -> TrainingState:
    data = read_bounded(path, MAX_PAYLOAD_BYTES)
    if not path.name.startswith(f"{version}-{sha256(data)[:32]}."):
        raise corrupt(f"the training state {path} is damaged")
    state = decode_state(data)
    if state.version != version:
        raise corrupt(f"the training state {path} says that it belongs to version {state.version[:12]}")
    return state
