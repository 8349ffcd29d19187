"""What becomes of rows: a batch is put together before an update, and each row gets its place after the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from dripstone.core.examples import Example, holdout_hash, is_held_out
from dripstone.core.records import ExampleCounts, Role, Verdict
from dripstone.store.ledger import Book, Carried, Page, PageRow, PendingRow, QuarantineGroup
from dripstone.update.lineage import Place

KNOWN = "the row was learned already"
PENDING = "the row is pending already"
SUPERSEDED = "a later row of the batch has the same id"
REPEATS = (KNOWN, PENDING, SUPERSEDED)
"""Reasons that say nothing against a row: where there are no others, sending it again changes nothing."""

UNSTORABLE = "the id, slice or time holds half a character (a lone surrogate)"
MAX_REJECTED = 10_000
"""Characters of a rejected text, or numbers of a rejected array, that the ledger keeps."""

MAX_REASON = 300
MAX_DIMENSIONS = 8


@dataclass(slots=True, eq=False)
class BatchRow:
    """A row that takes part in an update.

    ``origin`` is the ledger page and index it was carried over from, if any, ``since`` the log entry it waits from.
    """

    example: Example
    held_out: bool
    admitted: bool = False
    origin: Place | None = None
    since: int | None = None
    quarantined: str | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """All rows of one update.

    ``corrections`` holds ids that were learned under another label, ``replaced`` pending rows whose id came again with
    another label.
    """

    rows: list[BatchRow] = field(default_factory=list)
    rejected: list[tuple[Example, str]] = field(default_factory=list)
    received: int = 0
    corrections: set[str] = field(default_factory=set)
    replaced: list[PendingRow] = field(default_factory=list)

    def corrected(self) -> set[str]:
        """Ids whose learned label this batch replaces; a correction that is set aside replaces nothing."""
        return {row.example.id for row in self.rows if row.quarantined is None} & self.corrections

    def arrived(self) -> set[str]:
        """Ids of the rows that came with this batch."""
        return {row.example.id for row in self.rows if row.origin is None}

    def only_repeats(self) -> bool:
        """Whether nothing came that the store has not seen."""
        return not self.arrived() and all(reason in REPEATS for _, reason in self.rejected)

    def training(self) -> list[Example]:
        """Rows to learn from."""
        return [row.example for row in self.rows if not row.held_out and row.quarantined is None]

    def fresh(self) -> list[Example]:
        """Rows to judge by."""
        return [row.example for row in self.rows if row.held_out and row.quarantined is None]

    def has_news(self) -> bool:
        """Whether any row came with this batch (or was admitted by a person), rather than with an earlier one."""
        return any(row.origin is None or row.admitted for row in self.rows)

    def quarantine_labels(self, labels: Iterable[object], reason: str) -> None:
        """Set aside every row of these labels."""
        wanted = set(labels)
        for row in self.rows:
            if row.example.target in wanted:
                row.quarantined = reason

    def quarantine_arrived(self, reason: str) -> None:
        """Set aside every row that came with this batch; rows that wait since an earlier one stay."""
        for row in self.rows:
            if row.origin is None:
                row.quarantined = reason

    def fingerprint(self) -> str:
        """Hash of the rows that shape or judge the candidate."""
        digest = hashlib.sha256()
        for row in self.rows:
            if row.quarantined is None:
                digest.update(f"{row.example.id}\0{row.example.target!r}\0{row.example.weight!r}\0".encode())
                digest.update(b"h" if row.held_out else b"t")
        return digest.hexdigest()


def known_rows(rows: Iterable[PageRow | Example]) -> np.ndarray:
    """Hashes of id and target, [rows, 2] int64, sorted by the first: 16 bytes a row to recognise it by."""
    pairs = {_short_hash(row.id): _short_hash(repr(row.target)) for row in rows}
    return np.array(sorted(pairs.items()), dtype=np.int64).reshape(-1, 2)


def merge_known(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Both together; where an id is in both, the new target counts."""
    kept = old[~np.isin(old[:, 0], new[:, 0])]
    both = np.concatenate([kept, new])
    return both[np.argsort(both[:, 0], kind="stable")]


def _short_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)


def assemble(
    book: Book,
    known: np.ndarray,
    kept: Sequence[Example],
    rejected: Sequence[tuple[Example, str]],
    *,
    key: bytes,
    share: float,
    held_out_file: Sequence[Example] = (),
) -> Batch:
    """Join pending and new rows, drop what is known, and part training rows from held-out ones.

    Parameters
    ----------
    book : Book
        Its pending rows take part again.
    known : numpy.ndarray
        From ``known_rows``: what the live version has learned or is judged by.
    kept, rejected : sequences
        Screened new rows.
    key, share
        Of the keyed hash that holds rows out.
    held_out_file : sequence of Example
        Rows held out whatever their hash.
    """
    received = len(kept) + len(rejected) + len(held_out_file)
    batch = Batch(rejected=[(row, reason[:MAX_REASON]) for row, reason in rejected], received=received)
    forced = {*book.held_out, *hashes(key, held_out_file)}
    arrived = [*kept, *held_out_file]
    latest = {row.id: row for row in arrived if _is_storable(row)}
    pending = {item.row.id: item for item in book.pending}
    fresh_rows = []
    for row in arrived:
        reason = _why_not(row, latest, pending, known)
        if reason:
            batch.rejected.append((row, reason))
        else:
            fresh_rows.append(row)
    _carry(batch, pending, latest, known, key, share, forced)
    batch.rows += [_batch_row(row, key, share, forced) for row in fresh_rows]
    batch.corrections = {row.example.id for row in batch.rows if _learned_target(known, row.example.id) is not None}
    return batch


def _why_not(row: Example, latest: dict[str, Example], pending: dict[str, PendingRow], known: np.ndarray) -> str | None:
    if not _is_storable(row):
        return UNSTORABLE
    if latest[row.id] is not row:
        return SUPERSEDED
    if _is_known(known, row.id, row.target):
        return KNOWN
    if row.id in pending and pending[row.id].row.target == row.target:
        return PENDING
    return None


def _carry(
    batch: Batch,
    pending: dict[str, PendingRow],
    latest: dict[str, Example],
    known: np.ndarray,
    key: bytes,
    share: float,
    forced: set[bytes],
) -> None:
    """Pending rows take part again, but for those that the stream or the live version has overtaken.

    A row that was sent again with the label it was learned under withdraws the correction that waits.
    """
    for item in pending.values():
        target = latest[item.row.id].target if item.row.id in latest else item.row.target
        if _is_known(known, item.row.id, target):
            continue
        if target != item.row.target:
            batch.replaced.append(item)
        else:
            batch.rows.append(_batch_row(item.row.example(), key, share, forced, item))


def _learned_target(known: np.ndarray, row_id: str) -> int | None:
    """The hash of the label that the row was learned under, None if it was not."""
    wanted = _short_hash(row_id)
    place = int(np.searchsorted(known[:, 0], wanted))
    return int(known[place, 1]) if place < len(known) and known[place, 0] == wanted else None


def _is_known(known: np.ndarray, row_id: str, target: object) -> bool:
    return _learned_target(known, row_id) == _short_hash(repr(target))


def _is_storable(row: Example) -> bool:
    """Half a character has no bytes, so that the ledger could not hold it."""
    texts = (row.id, row.slice or "", row.time or "")
    return all(text.encode("utf-8", "ignore").decode() == text for text in texts)


def _hash_bytes(key: bytes, row: Example) -> bytes:
    return holdout_hash(key, row.inputs).to_bytes(8, "big")


def _batch_row(
    row: Example, key: bytes, share: float, forced: set[bytes], pending: PendingRow | None = None
) -> BatchRow:
    held_out = is_held_out(key, row.inputs, share) or (bool(forced) and _hash_bytes(key, row) in forced)
    if pending is None:
        return BatchRow(row, held_out)
    return BatchRow(row, held_out, pending.admitted, (pending.page, pending.index), pending.number)


def make_page(batch: Batch, parent: str | None, candidate: str | None) -> Page:
    """The ledger page of an update: its new rows in full, carried rows by reference, known rows not again."""
    rows = [PageRow.of(row.example, _role(row), row.quarantined or "") for row in batch.rows if row.origin is None]
    rows += [PageRow.of(_storable(row), "rejected", why) for row, why in batch.rejected if why not in (KNOWN, PENDING)]
    carried = [Carried(*row.origin, _role(row)) for row in batch.rows if row.origin is not None]
    return Page(parent, candidate, rows, carried)


def _storable(row: Example) -> Example:
    """A rejected row as the ledger can hold it: cut to a bounded size, and what is no label as its text."""
    target = row.target
    if isinstance(target, int) and not isinstance(target, bool) and abs(target) >= 2**63:
        target = hex(target)  # its decimal digits may be more than Python is willing to write
    elif target is not None and type(target) not in (str, int):
        target = repr(target)
    return replace(
        row,
        id=_printable(row.id),
        inputs=_printable(row.inputs) if isinstance(row.inputs, str) else _bounded(row.inputs),
        target=_printable(target) if isinstance(target, str) else target,
        time=None if row.time is None else _printable(row.time),
        slice=None if row.slice is None else _printable(row.slice),
    )


def _printable(text: str) -> str:
    return text[:MAX_REJECTED].encode("utf-8", "backslashreplace").decode()


def _bounded(array: np.ndarray) -> np.ndarray:
    return array if array.size <= MAX_REJECTED and array.ndim <= MAX_DIMENSIONS else array.reshape(-1)[:MAX_REJECTED]


def _role(row: BatchRow) -> Role:
    if row.quarantined is not None:
        return "quarantined"
    return "held_out" if row.held_out else "train"


def settle(
    book: Book,
    batch: Batch,
    page: str,
    number: int,
    verdict: Verdict,
    reason: str,
    *,
    spent: bool,
    keep_rows: bool,
    cap: int,
    held_out: Sequence[bytes] = (),
) -> Book:
    """The book after a verdict. A pending row whose correction was put aside waits as it was.

    Parameters
    ----------
    book : Book
        Before it.
    batch : Batch
        Rows that were set aside one by one are quarantined whatever the verdict.
    page, number : str, int
        Ledger page and log entry of the update.
    verdict, reason : str
        Promoted rows leave the book, undecided ones are pending, refused ones are quarantined with the reason.
    spent : bool
        The candidate was put to the test of gain.
    keep_rows : bool
        A refusal that says nothing about the rows (training diverged): they are pending, and admitted ones still so.
    cap : int
        The most pending rows; the oldest leave (the ledger keeps them).
    held_out : sequence of bytes
        Hashes of rows that are held out from now on, whatever their hash says.
    """
    refused = verdict == "refused" and not keep_rows
    aside, pending = [], []
    for row, place in _places(batch, page):
        if row.quarantined is not None or refused:
            aside.append((row, place, row.quarantined or reason))
        elif verdict != "promoted":
            kept = PageRow.of(row.example, _role(row))
            pending.append(PendingRow(*place, row.since or number, kept, row.admitted and keep_rows))
    ids = {row.example.id for row, _, _ in aside}
    restored = [item for item in batch.replaced if item.row.id in ids]
    return Book(
        pending=[*restored, *pending][-cap:],
        quarantined=[*book.quarantined, *_groups([(place, why) for _, place, why in aside], number)],
        tested=book.tested + int(spent),
        held_out=[*book.held_out, *held_out],
    )


def without_places(book: Book, places: Container[Place]) -> Book:
    """The book without the pending and quarantined rows at these places."""
    groups = [
        msgspec.structs.replace(group, indices=kept)
        for group in book.quarantined
        if (kept := [index for index in group.indices if (group.page, index) not in places])
    ]
    pending = [item for item in book.pending if (item.page, item.index) not in places]
    return msgspec.structs.replace(book, pending=pending, quarantined=groups)


def hashes(key: bytes, rows: Iterable[Example]) -> list[bytes]:
    """Keyed hashes by which rows are recognised as held out, 8 bytes each."""
    return [_hash_bytes(key, row) for row in rows]


def _places(batch: Batch, page: str) -> list[tuple[BatchRow, Place]]:
    """Each row with its ledger page and index; new rows stand in the new page in order."""
    places = []
    index = 0
    for row in batch.rows:
        if row.origin is not None:
            places.append((row, row.origin))
        else:
            places.append((row, (page, index)))
            index += 1
    return places


def _groups(rows: Iterable[tuple[Place, str]], number: int) -> list[QuarantineGroup]:
    groups: dict[tuple[str, str], list[int]] = {}
    for (page, index), reason in rows:
        groups.setdefault((page, reason), []).append(index)
    return [QuarantineGroup(page, number, reason, indices) for (page, reason), indices in groups.items()]


def count_rows(batch: Batch, book: Book, trained: int, replayed: int) -> ExampleCounts:
    """The counts that an update reports; ``book`` is the one after the verdict."""
    return ExampleCounts(
        received=batch.received,
        rejected=len(batch.rejected),
        trained=trained,
        replayed=replayed,
        held_out=len(batch.fresh()),
        pending=len(book.pending),
        quarantined=sum(len(group.indices) for group in book.quarantined),
    )
