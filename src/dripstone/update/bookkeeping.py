"""What becomes of rows: each gets its place in the ledger, and after the verdict in the book of those that wait."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from dripstone.core.examples import Example, Reply
from dripstone.core.records import ExampleCounts, Role, Verdict
from dripstone.store.ledger import Book, Carried, Page, PageRow, PendingRow, QuarantineGroup
from dripstone.update.batch import KNOWN, PENDING, Batch, BatchRow
from dripstone.update.lineage import Place

MAX_REJECTED = 10_000
"""Characters of a rejected text, or numbers of a rejected array, that the ledger keeps."""

MAX_DIMENSIONS = 8

MAX_KEPT_BYTES = 2**26
"""Inputs of pending, of trusted and of replayed rows that are kept beside the ledger, each."""


def make_page(batch: Batch, parent: str | None, candidate: str | None) -> Page:
    """The ledger page of an update: its new rows in full, carried rows by reference, known rows not again."""
    rows = [PageRow.of(row.example, _role(row), _why(row)) for row in batch.rows if row.origin is None]
    rows += [PageRow.of(_storable(row), "rejected", why) for row, why in batch.rejected if why not in (KNOWN, PENDING)]
    carried = [
        Carried(*row.origin, _role(row), _why(row), row.example.factor) for row in batch.rows if row.origin is not None
    ]
    return Page(parent, candidate, rows, carried)


def _storable(row: Example) -> Example:
    """A rejected row as the ledger can hold it: cut to a bounded size, and what is no label as its text."""
    target = row.target
    if isinstance(target, int) and not isinstance(target, bool) and abs(target) >= 2**63:
        target = hex(target)  # its decimal digits may be more than Python is willing to write
    elif isinstance(target, Reply):
        target = Reply(_printable(target.text))
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
    if row.left_out is not None:
        return "rejected"
    return "held_out" if row.held_out else "train"


def _why(row: BatchRow) -> str:
    return row.quarantined or row.left_out or ""


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
    share: float,
    held_out: Sequence[bytes] = (),
) -> tuple[Book, int]:
    """The book after a verdict, and how many pending rows it had no room for.

    A pending row whose correction was put aside, or left out for good, waits as it was.

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
        A refusal that says nothing about the rows (training diverged): they are pending, and have not been heard.
    cap : int
        The most pending rows, fewer where they are large; the oldest leave (the ledger keeps them).
    share : float
        Of the rows that their hash holds out.
    held_out : sequence of bytes
        Hashes of rows that are held out from now on, whatever their hash says.
    """
    refused = verdict == "refused" and not keep_rows
    aside, pending = [], []
    for row, place in _places(batch, page):
        if row.quarantined is not None or row.disputed is not None or refused:
            aside.append((row, place, row.quarantined or row.disputed or reason))
        elif verdict != "promoted":
            kept = PageRow.of(replace(row.example, factor=1.0), "held_out" if row.held_out else "train")
            pending.append(PendingRow(*place, row.since or number, kept, row.admitted, heard=not keep_rows))
    ids = {row.example.id for row, _, _ in aside}
    if verdict == "promoted":
        ids |= {row.example.id for row in batch.rows if row.left_out is not None}
    restored = [item for item in batch.replaced if item.row.id in ids]
    waiting = [*restored, *pending]
    room = affordable(cap, [item.row for item in waiting])
    put_aside = quarantine_groups([(place, row.example.id, why) for row, place, why in aside], number)
    book = Book(
        pending=waiting[len(waiting) - min(room, len(waiting)) :],
        quarantined=[*book.quarantined, *put_aside],
        tested=book.tested + int(spent),
        held_out=[*book.held_out, *held_out],
        share=share if book.share is None else book.share,
        doubt=batch.doubt,
    )
    return book, len(waiting) - len(book.pending)


def affordable(cap: int, rows: Sequence[PageRow]) -> int:
    """How many rows like these may be kept in one file: ``cap``, or fewer where they are large.

    Examples
    --------
    >>> affordable(4000, [PageRow.of(Example("1", np.zeros((3, 224, 224)), "cat"), "train")] * 10)
    111
    """
    total = sum(len(row.inputs) if isinstance(row.inputs, str) else len(row.inputs.data) for row in rows)
    total += sum(len(row.target.text) for row in rows if isinstance(row.target, Reply))
    return min(cap, max(1, MAX_KEPT_BYTES * len(rows) // max(total, 1))) if rows else cap


def without_places(book: Book, places: Container[Place]) -> Book:
    """The book without the pending and quarantined rows at these places."""
    groups = [left for group in book.quarantined if (left := group.without(places)).indices]
    pending = [item for item in book.pending if (item.page, item.index) not in places]
    return msgspec.structs.replace(book, pending=pending, quarantined=groups)


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


def quarantine_groups(rows: Iterable[tuple[Place, str, str]], number: int) -> list[QuarantineGroup]:
    """Rows that are put aside by a log entry, grouped by page and reason; a place, an id and a reason each."""
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for (page, index), row_id, reason in rows:
        groups.setdefault((page, reason), {})[index] = row_id
    return [QuarantineGroup.of(page, number, reason, ids) for (page, reason), ids in groups.items()]


def count_rows(batch: Batch, book: Book, trained: int, replayed: int, dropped: int) -> ExampleCounts:
    """The counts that an update reports; ``book`` is the one after the verdict."""
    return ExampleCounts(
        received=batch.received,
        rejected=len(batch.rejected) + sum(_role(row) == "rejected" for row in batch.rows),
        trained=trained,
        replayed=replayed,
        held_out=len(batch.fresh()),
        pending=len(book.pending),
        quarantined=sum(len(group.indices) for group in book.quarantined),
        dropped=dropped,
    )
