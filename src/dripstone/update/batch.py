"""A batch: the rows of one update, new and waiting ones, parted into those to learn from and those to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dripstone.core.errors import UsageError
from dripstone.core.examples import Example, Label, holdout_hash, is_held_out
from dripstone.curate.dedupe import EXACT
from dripstone.store.ledger import Book, PendingRow
from dripstone.update.known import content_hash, is_known, learned_content
from dripstone.update.lineage import Place

KNOWN = "the row was learned already"
PENDING = "the row is pending already"
SUPERSEDED = "a later row of the batch has the same id"
REPEATS = (KNOWN, PENDING, SUPERSEDED, EXACT)
"""Reasons that say nothing against a row: where there are no others, sending it again changes nothing."""

UNSTORABLE = "the id, slice or time holds half a character (a lone surrogate)"
MAX_REASON = 300
"""Characters of a reason, which may quote its row."""


@dataclass(slots=True, eq=False)
class BatchRow:
    """A row that takes part in an update.

    ``origin`` is the ledger page and index it was carried over from, if any, ``since`` the log entry it waits from;
    ``admitted`` and ``heard`` are those of the pending row. A ``quarantined`` row takes no part, one that is
    ``left_out`` is not learned this time, a ``disputed`` one has taken part and must not wait for the next update; each
    says why. The label of a ``doubted`` one is probably wrong; a ``strange`` one is unlike the trusted rows, and
    contradicts.
    """

    example: Example
    held_out: bool
    admitted: bool = False
    heard: bool = False
    origin: Place | None = None
    since: int | None = None
    quarantined: str | None = None
    left_out: str | None = None
    doubted: bool = False
    strange: bool = False
    disputed: str | None = None

    @property
    def takes_part(self) -> bool:
        """Whether the candidate is trained on the row, or judged by it."""
        return self.quarantined is None and self.left_out is None


@dataclass(slots=True, eq=False)
class Batch:
    """All rows of one update.

    ``corrections`` holds ids that were learned with another label, other inputs or another weight, ``replaced`` pending
    rows whose id came again so, ``notes`` why some rows were set aside, ``doubt`` what rows of this and of earlier
    batches say together (``gate.doubt``), ``contested`` whether they contradict the champion beyond chance,
    ``disputed`` whether they do so also beside trusted rows of their labels, ``alike`` the old label that the rows of a
    new one look like to it.
    """

    rows: list[BatchRow] = field(default_factory=list)
    rejected: list[tuple[Example, str]] = field(default_factory=list)
    received: int = 0
    corrections: set[str] = field(default_factory=set)
    replaced: list[PendingRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubt: float = 0.0
    contested: bool = False
    disputed: bool = False
    alike: dict[Label, Label] = field(default_factory=dict)

    def corrected(self) -> set[str]:
        """Ids whose learned row this batch replaces; a correction that is set aside replaces nothing."""
        return {row.example.id for row in self.rows if row.takes_part} & self.corrections

    def arrived(self) -> set[str]:
        """Ids of the rows that came with this batch."""
        return {row.example.id for row in self.rows if row.origin is None}

    def only_repeats(self) -> bool:
        """Whether nothing came that the store has not seen."""
        return not self.arrived() and all(reason in REPEATS for _, reason in self.rejected)

    def places(self, *, held_out: bool) -> list[int]:
        """Where in ``rows`` those stand that are not set aside: to judge by, or to learn from."""
        return [index for index, row in enumerate(self.rows) if row.held_out == held_out and row.takes_part]

    def examples(self) -> list[Example]:
        """All rows, those that are set aside among them."""
        return [row.example for row in self.rows]

    def training(self) -> list[Example]:
        """Rows to learn from."""
        return [self.rows[index].example for index in self.places(held_out=False)]

    def fresh(self) -> list[Example]:
        """Rows to judge by."""
        return [self.rows[index].example for index in self.places(held_out=True)]

    def admitted(self) -> int:
        """How many rows take part because a person said that they make sense."""
        return sum(row.admitted and row.takes_part for row in self.rows)

    def has_news(self) -> bool:
        """Whether any row came with this batch, or was admitted by a person since the last one."""
        return any(row.origin is None or (row.admitted and not row.heard) for row in self.rows)

    def reject(self, reasons: Sequence[str | None]) -> None:
        """Leave out the rows for which there is a reason, given for each."""
        self.rejected += [(row.example, why) for row, why in zip(self.rows, reasons, strict=True) if why is not None]
        self.rows = [row for row, why in zip(self.rows, reasons, strict=True) if why is None]

    def set_aside(self, label: Label, reason: str, *, arrived: bool = False) -> None:
        """Quarantine the rows of a label, or those that came with this batch; not what a person admitted."""
        self.notes.append(reason)
        for row in self.rows:
            asked = not row.admitted and row.quarantined is None and (row.origin is None or not arrived)
            if row.example.target == label and asked:
                row.quarantined = reason

    def fingerprint(self) -> str:
        """Hash of the rows that shape or judge the candidate."""
        digest = hashlib.sha256()
        for row in self.rows:
            if row.takes_part:
                weight = row.example.training_weight
                digest.update(f"{row.example.id}\0{row.example.target!r}\0{weight!r}\0".encode())
                digest.update(b"h" if row.held_out else b"t")
        return digest.hexdigest()


def check_share(book: Book, share: float) -> None:
    """Refuse a share of held-out rows other than the first one: a row's side must not change.

    Raises
    ------
    UsageError
        If ``share`` is another one than the book's.
    """
    if book.share is not None and book.share != share:
        raise UsageError(
            f"gate.holdout is {share:g}, where this store has held rows out at {book.share:g}; rows would change sides",
            remedy=f"set gate.holdout to {book.share:g}, or make a new project",
            kind="usage.holdout",
        )


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
    cut = [(row, reason[:MAX_REASON]) for row, reason in rejected]
    batch = Batch(rejected=cut, received=received, doubt=book.doubt)
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
    batch.corrections = {row.example.id for row in batch.rows if learned_content(known, row.example.id) is not None}
    return batch


def judges(book: Book, *, key: bytes, share: float) -> Callable[[Example], bool]:
    """Tells rows that are held out, by their hash or because a file said so; nothing but their inputs is looked at.

    A row whose inputs are not finite is none: screening says what is wrong with it.
    """
    forced = set(book.held_out)

    def is_judge(row: Example) -> bool:
        finite = isinstance(row.inputs, str) or bool(np.isfinite(row.inputs).all())
        return finite and _is_held_out(row, key, share, forced)

    return is_judge


def _is_held_out(row: Example, key: bytes, share: float, forced: set[bytes]) -> bool:
    return is_held_out(key, row.inputs, share) or (bool(forced) and _hash_bytes(key, row) in forced)


def _why_not(row: Example, latest: dict[str, Example], pending: dict[str, PendingRow], known: np.ndarray) -> str | None:
    if not _is_storable(row):
        return UNSTORABLE
    if latest[row.id] is not row:
        return SUPERSEDED
    if is_known(known, row):
        return KNOWN
    if row.id in pending and content_hash(pending[row.id].row) == content_hash(row):
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

    A row that was sent again just as it was learned withdraws the correction that waits.
    """
    for item in pending.values():
        again = latest.get(item.row.id)
        if is_known(known, again or item.row):
            continue
        if again is not None and content_hash(again) != content_hash(item.row):
            batch.replaced.append(item)
        else:
            batch.rows.append(_batch_row(replace(item.row.example(), factor=1.0), key, share, forced, item))


def _is_storable(row: Example) -> bool:
    """Half a character has no bytes, so that the ledger could not hold it."""
    texts = (row.id, row.slice or "", row.time or "")
    return all(text.encode("utf-8", "ignore").decode() == text for text in texts)


def _hash_bytes(key: bytes, row: Example) -> bytes:
    return holdout_hash(key, row.inputs).to_bytes(8, "big")


def _batch_row(
    row: Example, key: bytes, share: float, forced: set[bytes], pending: PendingRow | None = None
) -> BatchRow:
    held_out = _is_held_out(row, key, share, forced)
    if pending is None:
        return BatchRow(row, held_out)
    place = (pending.page, pending.index)
    return BatchRow(row, held_out, pending.admitted, pending.heard, place, pending.number)


def hashes(key: bytes, rows: Iterable[Example]) -> list[bytes]:
    """Keyed hashes by which rows are recognised as held out, 8 bytes each."""
    return [_hash_bytes(key, row) for row in rows]
