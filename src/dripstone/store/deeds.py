"""Deeds: what each unlearning took out of the store, and what stands in its place. Hashes only, no row.

A deed is written before the log entry that names it, under the hash of its bytes, and counts from that entry on: its
pages are read in place of the old ones, its versions can be used no more, its training states are passed over. Deleting
what has become superfluous comes after that, and may be cut short: nothing reads it any more.
"""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from dripstone.core.errors import StoreError
from dripstone.store.checks import corrupt, is_hash, parse, sha256, to_json
from dripstone.store.files import is_there, list_names, read_bounded, write_new, write_once
from dripstone.store.refs import Log

DEED_FORMAT = "dripstone-unlearned 1"
MAX_DEED_BYTES = 2**28

STATE_NAME = re.compile(r"([0-9a-f]{64})-([0-9a-f]{32})\.safetensors")
"""Names of training states: the version, and a hash."""

_MARK = re.compile(r"[0-9a-f]{32}")
_DONE = ".done"


class Deed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What left the store with log entry ``number``.

    ``ids`` are keyed hashes of the rows' ids, by which a command that was cut short is known again. ``pages`` names,
    for each ledger page that held such a row, the page that is read in its place. ``versions`` were trained with them
    and are collected, ``states`` are the files of training states that remember them. ``exact`` says that nothing of
    the rows is left in what is live since then. Where the output layer was solved anew, ``penalty`` is the one it was
    solved with, and ``forget`` the policy by which its rows had faded.
    """

    number: int
    ids: list[str] = []
    pages: dict[str, str] = {}
    versions: list[str] = []
    states: list[str] = []
    exact: bool = True
    penalty: float | None = None
    forget: str = ""
    format: str = DEED_FORMAT


_DEED = msgspec.json.Decoder(Deed)


def id_mark(key: bytes, row_id: str) -> str:
    """A keyed hash of an id, 32 hexadecimal digits.

    Examples
    --------
    >>> len(id_mark(b"k" * 32, "7")), id_mark(b"k" * 32, "7") == id_mark(b"l" * 32, "7")
    (32, False)
    """
    return hmac.new(key, b"unlearned\0" + row_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:32]


class Deeds:
    """The folder of deeds.

    Parameters
    ----------
    folder : Path
        Holds a file for each deed, and for each whose files are deleted an empty one beside it.
    log : Log
        Says which of them count.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> deeds = Deeds(folder / "unlearned", Log(folder / "live"))
    >>> name = deeds.write(Deed(2, pages={"ab" * 32: "cd" * 32}))
    >>> deeds.read(name).number, deeds.committed(), deeds.current("ab" * 32) == "ab" * 32
    (2, {}, True)
    """

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder = folder
        self.log = log
        self._committed: dict[str, Deed] = {}
        self._pages: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._waiting: dict[str, Deed] = {}
        self._void: set[str] = set()

    def write(self, deed: Deed) -> str:
        """Store a deed and return its name. It does not count before a log entry names it."""
        _check(deed, "the deed")
        data = to_json(deed, _DEED.decode, "the deed", MAX_DEED_BYTES)
        name = sha256(data)
        write_once(self.folder / name, data)
        return name

    def read(self, name: str) -> Deed:
        """Read a deed and verify it.

        Raises
        ------
        StoreError
            ``store.missing`` or ``store.corrupt``.
        """
        if not is_hash(name):
            raise corrupt(f"{name!r} cannot be the name of a deed: it is not 64 hexadecimal digits")
        path = self.folder / name
        data = read_bounded(path, MAX_DEED_BYTES)
        if sha256(data) != name:
            raise corrupt(f"{path} is damaged: it does not hold the bytes it is named after")
        deed = parse(_DEED.decode, data, f"the deed {path}")
        _check(deed, f"the deed {path}")
        return deed

    def committed(self) -> dict[str, Deed]:
        """The deeds that count, by name, oldest first."""
        new = False
        for name in list_names(self.folder):
            if is_hash(name) and name not in self._committed and name not in self._void:
                new = self._look_at(name) or new
        if new:
            self._committed = dict(sorted(self._committed.items(), key=lambda item: item[1].number))
            deeds = self._committed.values()
            self._pages = {old: page for deed in deeds for old, page in deed.pages.items()}
            self._versions = {version: deed.number for deed in deeds for version in deed.versions}
        return self._committed

    def _look_at(self, name: str) -> bool:
        """Whether a deed counts from now on: the log entry that it was written for names it. There may be none yet, and
        one that names another deed, or none, will never name this one."""
        deed = self._waiting.get(name) or self.read(name)
        self._waiting[name] = deed
        try:
            named = self.log.entry(deed.number).unlearned
        except StoreError as error:
            if error.kind != "store.missing":
                raise
            return False
        del self._waiting[name]
        if named != name:
            self._void.add(name)
            return False
        self._committed[name] = deed
        return True

    def current(self, page: str) -> str:
        """The name under which a ledger page lies today."""
        return self.pages().get(page, page)

    def pages(self) -> dict[str, str]:
        """Pages that were redacted, each with the one that is read in its place."""
        self.committed()
        return self._pages

    def written_pages(self) -> set[str]:
        """Every page that ever stood in the place of another one."""
        return {new for deed in self.committed().values() for new in deed.pages.values()}

    def versions(self) -> dict[str, int]:
        """Versions that were collected, each with the log entry that did it."""
        self.committed()
        return self._versions

    def superseded_states(self) -> set[str]:
        """Files of training states that are not to be read any more."""
        return {state for deed in self.committed().values() for state in deed.states}

    def is_done(self, name: str) -> bool:
        """Whether all that a deed made superfluous is deleted."""
        return is_there(self.folder / f"{name}{_DONE}")

    def mark_done(self, name: str) -> None:
        """Remember that. The same once more is fine."""
        path = self.folder / f"{name}{_DONE}"
        try:
            write_new(path)
        except FileExistsError:
            return

    def unfinished(self) -> dict[str, Deed]:
        """Deeds that count, and whose files are not all deleted yet."""
        return {name: deed for name, deed in self.committed().items() if not self.is_done(name)}


def _check(deed: Deed, what: str) -> None:
    if deed.format != DEED_FORMAT:
        raise corrupt(
            f"{what} has the format {deed.format!r}",
            remedy="open this store with the version of dripstone that wrote it",
        )
    if deed.number < 2:
        raise corrupt(f"{what} was written for log entry {deed.number}")
    if deed.penalty is not None and not 0 < deed.penalty < math.inf:
        raise corrupt(f"{what} names a penalty of {deed.penalty}")
    if bad := _not(is_hash, [*deed.pages, *deed.pages.values(), *deed.versions]):
        raise corrupt(f"{what} names {bad!r}, which is not 64 hexadecimal digits")
    if bad := _not(lambda name: STATE_NAME.fullmatch(name) is not None, deed.states):
        raise corrupt(f"{what} names {bad!r}, which is no training state")
    if bad := _not(lambda mark: _MARK.fullmatch(mark) is not None, deed.ids):
        raise corrupt(f"{what} names the id {bad!r}, which is not 32 hexadecimal digits")


def _not(fits: Callable[[str], bool], names: Iterable[str]) -> str | None:
    return next((name for name in names if not fits(name)), None)
