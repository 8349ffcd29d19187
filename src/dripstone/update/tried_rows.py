"""The rows of a search over settings: an update's own, with tried rows in the place of those that are held out.

Rows that the store holds out, new, waiting or trusted, are not among them. What is left is cut into five parts by
another keyed hash; one part is tried, the others are learned. Remembered rows are cut alike; one that is tried is taken
out of all that the champion remembers, as if it came again and were held out now. So what an update does with a batch
can be done with these.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import torch

from dripstone.core.config import Config
from dripstone.core.errors import UsageError
from dripstone.core.events import Event
from dripstone.core.examples import Example, content_id, holdout_hash, label_of
from dripstone.core.records import count
from dripstone.core.tuned import TunedRows
from dripstone.curate.policy import parse_policy
from dripstone.store.ledger import Book
from dripstone.store.repository import Repository
from dripstone.update import training_state
from dripstone.update.batch import Batch, BatchRow, check_share, judges
from dripstone.update.champion import Champion, head_of
from dripstone.update.commit import Start
from dripstone.update.flow import gather
from dripstone.update.meter import Meter
from dripstone.update.rehearsal import old_rows

PARTS = 5
"""Of which one is tried, and not learned."""

FEWEST = 20
"""New rows of a part at least: fewer tell no setting from another. Of few rows there are fewer parts."""


@dataclass(frozen=True, slots=True, eq=False)
class TriedRows:
    """What a trial learns, and what it is tried on.

    In ``batch`` the tried rows, remembered ones among them, are those that are held out; ``replay`` are the remembered
    rows that are learned once more. ``start`` is what an update would find, without a row that judges.
    """

    batch: Batch
    replay: Sequence[Example]
    start: Start
    counts: TunedRows

    def fingerprint(self) -> str:
        """Hash of the rows and of their sides."""
        digest = hashlib.sha256(self.batch.fingerprint().encode())
        for row in (*self.batch.examples(), *self.replay):
            said = f"{row.id}\0{row.target!r}\0{row.training_weight!r}\0{content_id(row.inputs)}\0"
            digest.update(said.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """All rows of a search, cut into ``count`` parts; ``new`` and ``old`` say of which part each row is."""

    batch: Batch
    remembered: Sequence[Example]
    start: Start
    new: Sequence[int]
    old: Sequence[int]
    count: int

    def trying(self, part: int) -> TriedRows:
        """The rows where one part is tried, and the others are learned."""
        batch, start = copied(self.batch), replace(self.start)
        for row, its in zip(batch.rows, self.new, strict=True):
            row.held_out = its == part
        counts = len(batch.training()), len(batch.fresh())
        replay = [row for row, its in zip(self.remembered, self.old, strict=True) if its != part]
        again = [row for row, its in zip(self.remembered, self.old, strict=True) if its == part]
        batch.rows += [BatchRow(row, held_out=True) for row in again]
        batch.corrections |= {row.id for row in again}
        start.state = training_state.without_rows(start.state, {row.id for row in again})
        return TriedRows(batch, replay, start, TunedRows(*counts, len(replay), len(again)))


def cut_rows(
    repository: Repository, config: Config, champion: Champion, arrived: Iterable[Example]
) -> Generator[Event, None, Parts]:
    """Screen new rows as an update does, and cut them; yields progress.

    Parameters
    ----------
    repository : Repository
        Where the champion is live. It is only read.
    config : Config
        The project's settings.
    champion : Champion
        The live version, loaded.
    arrived : iterable of Example
        The new rows.

    Raises
    ------
    UsageError
        ``usage.tune`` if too few rows, or rows of one label only, are left to learn some and try settings on the
        others.
    """
    head = head_of(repository, champion, "the search")
    book = repository.read_book(head.book) if head.book else Book()
    check_share(book, config.gate.holdout)
    is_judge = judges(book, key=repository.holdout_key, share=config.gate.holdout)
    waiting = [item for item in book.pending if not is_judge(item.row.example())]
    book = msgspec.structs.replace(book, pending=waiting)
    state = training_state.load_state(repository, config, champion.version, champion.model)
    start = Start(head.number, book, state, Meter(), dry_run=True)
    batch = yield from gather(repository, config, champion, (row for row in arrived if not is_judge(row)), start)
    state = replace(state, trusted=[], trusted_features=None, trusted_marks=None)
    start.state = training_state.without_rows(state, batch.corrected())
    replay = old_rows(parse_policy(config.curate.policy).replay, champion, start.state, config.train.seed)
    remembered = [row for row in replay if not is_judge(row)]  # of rows that the champion writes, one may be
    parts = _cut(batch, remembered, start, repository.holdout_key)
    _check_labels(parts.trying(0).batch, champion)
    return parts


def _cut(batch: Batch, remembered: Sequence[Example], start: Start, holdout_key: bytes) -> Parts:
    """Rows that are alike are of one part; the parts of the new rows are as large as each other, but for those."""
    rows = len(batch.rows)
    if rows < 2 * FEWEST:
        raise _too_few(rows)
    key = hashlib.sha256(b"tried\0" + holdout_key).digest()
    new, old = ([holdout_hash(key, row.inputs) for row in rows] for rows in (batch.examples(), remembered))
    count = min(PARTS, rows // FEWEST)
    cuts = {sorted(new)[-(-rows * part // count) - 1] for part in range(1, count)}
    ends = sorted(cuts - {max(new)})  # of many rows that are alike, parts would be left without a row
    parts = [[bisect.bisect_left(ends, place) for place in places] for places in (new, old)]
    if not FEWEST <= parts[0].count(0) <= rows - FEWEST:
        raise _too_few(rows, alike=True)
    return Parts(batch, remembered, start, parts[0], parts[1], len(ends) + 1)


def _check_labels(batch: Batch, champion: Champion) -> None:
    """Something is learned that could be learned better or worse."""
    rows = batch.training()
    if not any(row.training_weight > 0 for row in rows):
        raise UsageError(
            "every row to learn from has weight 0", remedy="give some of them a weight above 0", kind="usage.tune"
        )
    if champion.task.numbers or champion.task.texts:
        return
    learned = {label_of(row.target) for row in rows} | set(champion.task.labels)
    tried = {label_of(row.target) for row in batch.fresh()}
    for what, labels in (("learn from", learned), ("try settings on", tried)):
        if len(labels) < 2:
            raise UsageError(
                f"all rows to {what} have the label {next(iter(labels))!r}, by which no setting can be told",
                remedy="send rows of two or more labels",
                kind="usage.tune",
            )


def _too_few(rows: int, *, alike: bool = False) -> UsageError:
    return UsageError(
        f"{count(rows, 'new row')} {'is' if rows == 1 else 'are'} not held out"
        f"{', and most of them are alike' if alike else ''}: too few to learn some and try settings on the others",
        remedy=f"send more rows: {2 * FEWEST} that differ, and are not held out or learned already, are enough",
        kind="usage.tune",
    )


def copied(batch: Batch) -> Batch:
    """The batch, to be curated and cut without a trace in this one."""
    rows, corrections = [replace(row) for row in batch.rows], set(batch.corrections)
    return replace(batch, rows=rows, rejected=list(batch.rejected), notes=[], corrections=corrections)


def user_weights(rows: Sequence[Example]) -> torch.Tensor:
    """What rows count when settings are tried on them, [rows] float64, of sum 1: what the user says."""
    weights = torch.tensor([row.weight for row in rows], dtype=torch.float64)
    return weights / weights.sum() if bool(weights.sum() > 0) else torch.full_like(weights, 1 / len(rows))
