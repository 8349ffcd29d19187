"""The log: an append-only row of create-only entries, the single commit point of everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dripstone.core.errors import RaceLostError, StoreError
from dripstone.core.records import LogEntry
from dripstone.store.checks import corrupt, is_hash, parse, to_json
from dripstone.store.files import is_there, list_names, read_bounded, write_new

MAX_ENTRY_BYTES = 2**20

_NAME = re.compile(r"[0-9]{6}|[1-9][0-9]{6,11}")
_ENTRY = msgspec.json.Decoder(LogEntry)


class Log:
    """The entries ``000001``, ``000002``, ... of a folder; the highest is current.

    Parameters
    ----------
    folder : Path
        Where the entries are. Temporary and foreign names in it are passed over.

    Examples
    --------
    >>> import tempfile
    >>> log = Log(Path(tempfile.mkdtemp()))
    >>> log.append(LogEntry(1, "ab" * 32, "init", "created", nonce="1f", time="2025-01-01T00:00:00Z"))
    >>> log.head().number
    1
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = 0

    def head(self) -> LogEntry:
        """The current entry. Older ones are not read.

        Raises
        ------
        StoreError
            ``store.empty`` if there is none yet, ``store.corrupt`` if a number is missing or the entry is unreadable.
        """
        last = self.last()
        if last == 0:
            raise StoreError(
                f"the log {self.folder} has no entry yet",
                remedy="make version 1 with 'dripstone init'",
                kind="store.empty",
            )
        return self.entry(last)

    def entries(self) -> Iterator[LogEntry]:
        """Entries from the newest to the first, each read when it is asked for."""
        for number in range(self.last(), 0, -1):
            yield self.entry(number)

    def entry(self, number: int) -> LogEntry:
        """One entry, checked.

        Raises
        ------
        StoreError
            ``store.missing`` or ``store.corrupt``.
        """
        path = self._path(number)
        entry = parse(_ENTRY.decode, read_bounded(path, MAX_ENTRY_BYTES), f"log entry {path}")
        if entry.number != number:
            raise corrupt(f"log entry {path} says that it is number {entry.number}")
        _check_names(entry)
        return entry

    def append(self, entry: LogEntry) -> None:
        """Commit: create the entry after the head.

        Parameters
        ----------
        entry : LogEntry
            Its number is the head's as it was read at the start of the work, plus 1. Its nonce is the writer's own, so
            that an entry whose creation was not confirmed is known again.

        Raises
        ------
        RaceLostError
            If somebody else has created that number meanwhile. Nothing is overwritten.
        StoreError
            ``store.corrupt`` if the number would leave a hole, and what writing may raise.
        """
        last = self.last()
        if entry.number > last + 1 or entry.number < 1:
            raise corrupt(
                f"log entry {entry.number} cannot follow entry {last} in {self.folder}",
                remedy="restore the log from a copy of the store; entries must never be removed",
            )
        _check_names(entry)
        data = to_json(entry, _ENTRY.decode, f"log entry {entry.number}", MAX_ENTRY_BYTES)
        try:
            write_new(self._path(entry.number), data)
        except FileExistsError:
            winner = self.entry(entry.number)
            if winner.nonce != entry.nonce:
                raise _lost(winner) from None

    def require(self, number: int) -> None:
        """Refuse to go on where another writer has the entry after ``number`` already: what is written from then on
        would be left behind, and may be what was unlearned meanwhile.

        Raises
        ------
        RaceLostError
            If it is there.
        """
        if self.last() > number:
            raise _lost(self.entry(number + 1))

    def numbers(self) -> list[int]:
        """Numbers that have a file, ascending."""
        return sorted(int(name) for name in list_names(self.folder) if _NAME.fullmatch(name) and int(name) > 0)

    def last(self) -> int:
        """The head's number, 0 for an empty log.

        The folder is listed the first time; afterwards only the numbers behind the one that was found are looked for,
        so that following a long log costs what following a short one does.

        Raises
        ------
        StoreError
            ``store.corrupt`` if a number below it is missing.
        """
        if not self._known or not is_there(self._path(self._known)):
            self._known = self._listed_last()
        while self._known and is_there(self._path(self._known + 1)):
            self._known += 1
        return self._known

    def _listed_last(self) -> int:
        numbers = self.numbers()
        if not numbers:
            return 0
        # Listing a folder is no snapshot: what it passed over may have been created while it ran.
        absent = set(range(1, numbers[-1])) - set(numbers) if numbers[-1] != len(numbers) else set()
        if hole := min((number for number in absent if not is_there(self._path(number))), default=0):
            raise corrupt(
                f"the log {self.folder} has an entry {numbers[-1]} but no entry {hole}",
                remedy="restore the missing entry from a copy of the store",
            )
        return numbers[-1]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}"


def _lost(winner: LogEntry) -> RaceLostError:
    return RaceLostError(
        f"another writer committed entry {winner.number} ({winner.event}) meanwhile",
        remedy="run the same command again; nothing was lost",
    )


def _check_names(entry: LogEntry) -> None:
    named = (entry.version, entry.candidate, entry.page, entry.book, entry.certificate, entry.judged, entry.unlearned)
    for name in named:
        if name is not None and not is_hash(name):
            raise corrupt(f"log entry {entry.number} names {name!r}, which is not 64 hexadecimal digits")
