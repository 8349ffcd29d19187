"""What becomes of rows: a batch is put together before an update, and each row gets its place after the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dripstone.core.examples import Example, holdout_hash, is_held_out
from dripstone.core.records import ExampleCounts, Role, Verdict
from dripstone.store.ledger import Book, Carried, Page, PageRow, PendingRow, QuarantineGroup

KNOWN = "the row was learned already"
PENDING = "the row is pending already"
MAX_REJECTED_TEXT = 10_000
"""Characters of a rejected text that the ledger keeps."""

SUPERSEDED = "a later row of the batch has the same id"


@dataclass(slots=True, eq=False)
class BatchRow:
    """A row that takes part in an update.

    ``origin`` is the ledger page and index it was carried over from, if any, ``since`` the log entry it waits from.
    """

    example: Example
    held_out: bool
    admitted: bool = False
    origin: tuple[str, int] | None = None
    since: int | None = None
    quarantined: str | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """All rows of one update. ``corrected`` holds ids that were learned under another label."""

    rows: list[BatchRow] = field(default_factory=list)
    rejected: list[tuple[Example, str]] = field(default_factory=list)
    received: int = 0
    corrected: set[str] = field(default_factory=set)

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
    batch = Batch(rejected=list(rejected), received=len(kept) + len(rejected) + len(held_out_file))
    forced = {*book.held_out, *hashes(key, held_out_file)}
    latest = {row.id: row for row in [*kept, *held_out_file]}
    pending = {item.row.id: item for item in book.pending}
    targets = {int(a): int(b) for a, b in known} if len(known) else {}
    seen: set[str] = set()
    fresh_rows = []
    for row in [*kept, *held_out_file]:
        reason = _why_not(row, latest, pending, targets, seen)
        if reason:
            batch.rejected.append((row, reason))
            continue
        seen.add(row.id)
        if _short_hash(row.id) in targets:
            batch.corrected.add(row.id)
        fresh_rows.append(row)
    for item in book.pending:
        if item.row.id not in seen:
            batch.rows.append(_batch_row(item.row.example(), key, share, forced, item))
    batch.rows += [_batch_row(row, key, share, forced) for row in fresh_rows]
    return batch


def _why_not(
    row: Example, latest: dict[str, Example], pending: dict[str, PendingRow], targets: dict[int, int], seen: set[str]
) -> str | None:
    if latest[row.id] is not row or row.id in seen:
        return SUPERSEDED
    if targets.get(_short_hash(row.id)) == _short_hash(repr(row.target)):
        return KNOWN
    if row.id in pending and pending[row.id].row.target == row.target:
        return PENDING
    return None


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
    """A rejected row as the ledger can hold it: what is no label is kept as its text."""
    target = row.target
    odd = target is not None and (type(target) not in (str, int) or (isinstance(target, int) and abs(target) >= 2**63))
    inputs = row.inputs
    if isinstance(inputs, str):
        inputs = inputs[:MAX_REJECTED_TEXT].encode("utf-8", "backslashreplace").decode()
    text = repr(target) if odd else target
    if isinstance(text, str):
        text = text[:MAX_REJECTED_TEXT].encode("utf-8", "backslashreplace").decode()
    return replace(row, inputs=inputs, target=text)


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
    """The book after a verdict.

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
        A refusal that says nothing about the rows (training diverged): they are pending.
    cap : int
        The most pending rows; the oldest leave (the ledger keeps them).
    held_out : sequence of bytes
        Hashes of rows that are held out from now on, whatever their hash says.
    """
    places = _places(batch, page)
    active = [(row, place) for row, place in places if row.quarantined is None]
    groups = _groups([(place, row.quarantined) for row, place in places if row.quarantined is not None], number)
    pending: list[PendingRow] = []
    if verdict == "refused" and not keep_rows:
        groups += _groups([(place, reason) for _, place in active], number)
    elif verdict != "promoted":
        pending = [
            PendingRow(*place, row.since or number, PageRow.of(row.example, _role(row)), row.admitted)
            for row, place in active
        ]
    return Book(
        pending=pending[-cap:],
        quarantined=[*book.quarantined, *groups],
        tested=book.tested + int(spent),
        held_out=[*book.held_out, *held_out],
    )


def hashes(key: bytes, rows: Iterable[Example]) -> list[bytes]:
    """Keyed hashes by which rows are recognised as held out, 8 bytes each."""
    return [_hash_bytes(key, row) for row in rows]


def _places(batch: Batch, page: str) -> list[tuple[BatchRow, tuple[str, int]]]:
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


def _groups(rows: Iterable[tuple[tuple[str, int], str | None]], number: int) -> list[QuarantineGroup]:
    groups: dict[tuple[str, str], list[int]] = {}
    for (page, index), reason in rows:
        groups.setdefault((page, reason or ""), []).append(index)
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
