"""Moves of ``live`` and of rows that need no training: revert, a person's promotion, admitting and dropping rows."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import msgspec
import numpy as np

from dripstone.core.errors import RaceLostError, StoreError, UsageError
from dripstone.core.records import Certificate, EntryEvent, LogEntry, count, now
from dripstone.store.certificates import NO_FILE
from dripstone.store.ledger import Book, PendingRow
from dripstone.store.repository import Repository
from dripstone.update.bookkeeping import quarantine_groups, without_places
from dripstone.update.known import is_known, known_rows, merge_known
from dripstone.update.lineage import Place, ancestors, last_certificate, learned_places, page_rows, read_rows


def revert(repository: Repository, version: str | None = None) -> LogEntry:
    """Make a version live again; without one, the version that was live before, so that twice comes back.

    Rows that only the left version was trained on are quarantined, rows of a version that comes back are not any more.
    The certificate that last vouched for the version vouches for it again.

    Raises
    ------
    UsageError
        If there is no earlier version, or the one named is live, was never live or was collected.
    """
    head = repository.log.head()
    target = version or _live_before(repository, head)
    if target == head.version:
        raise UsageError(f"version {target[:12]} is live already", remedy="see 'dripstone log' for others")
    _require_whole(repository, target)
    if all(entry.version != target for entry in repository.log.entries()):
        raise UsageError(
            f"version {target[:12]} was never live",
            remedy="use 'dripstone promote' with a reason to overrule the gate",
            kind="usage.never_live",
        )
    reason = f"back to {target[:12]} from {head.version[:12]}"
    return _move(repository, head, target, "revert", reason, last_certificate(repository, target))


def promote(repository: Repository, version: str, reason: str) -> LogEntry:
    """Overrule the gate; the reason stays in the log and in a certificate of its own.

    A version that is live already can be promoted only where no certificate vouches for it: a store from before there
    were certificates, or one that was damaged.

    Raises
    ------
    UsageError
        If the version is live, was never judged or was collected, or no reason is given.
    """
    head = repository.log.head()
    if not reason.strip():
        raise UsageError("a promotion by hand needs a reason", remedy="give one with --reason")
    if version == head.version and _is_certified(repository, head):
        raise UsageError(f"version {version[:12]} is live already", remedy="see 'dripstone log' for others")
    _require_whole(repository, version)
    if all(version not in (entry.version, entry.candidate) for entry in repository.log.entries()):
        raise UsageError(
            f"the update that trained version {version[:12]} did not finish, so its rows are not in the ledger",
            remedy="send its rows again",
            kind="usage.never_judged",
        )
    certificate = repository.write_certificate(_by_hand(repository, head, version, reason.strip()))
    return _move(repository, head, version, "promote", reason.strip(), certificate)


def begin_anew(repository: Repository, root: str, number: int, reason: str) -> LogEntry:
    """Make another untrained version live, where nothing was ever live that had learned: a person asked for it.

    Raises
    ------
    RaceLostError
        If the log has moved on from entry ``number``.
    """
    head = repository.log.head()
    if head.number != number:
        raise RaceLostError(
            f"log entry {head.number} was written meanwhile", remedy="run the same command again; nothing was lost"
        )
    certificate = repository.write_certificate(_by_hand(repository, head, root, reason))
    return _move(repository, head, root, "promote", reason, certificate)


def _by_hand(repository: Repository, head: LogEntry, version: str, reason: str) -> Certificate:
    """A person's certificate. What a person chooses is the best version so far."""
    own, live = _judgement_of(repository, version), _certificate(repository, head.version, head.certificate)
    best = live.next_anchor if live is not None else None
    return Certificate(
        version=version,
        merkle=repository.manifest(version).merkle,
        source="person",
        verdict="promoted",
        reason=reason,
        number=head.number + 1,
        time=now(),
        champion=head.version,
        champion_merkle=repository.manifest(head.version).merkle,
        anchor=own.anchor if own is not None and own.anchor is not None else best,
        next_anchor=version,
    )


def _judgement_of(repository: Repository, version: str) -> Certificate | None:
    """What was last said about a version, be it that it may not be live."""
    for entry in repository.log.entries():
        if entry.version == version and entry.certificate is not None:
            return _certificate(repository, version, entry.certificate)
        if entry.candidate == version and entry.judged is not None:
            return _certificate(repository, version, entry.judged)
    return None


def _certificate(repository: Repository, version: str, digest: str | None) -> Certificate | None:
    """A certificate, None if it is missing or damaged: a person may promote to replace it."""
    if digest is None:
        return None
    try:
        return repository.read_certificate(version, digest)
    except StoreError as error:
        if error.kind not in NO_FILE:
            raise
        return None


def _is_certified(repository: Repository, entry: LogEntry) -> bool:
    try:
        repository.certificate_of(entry)
    except StoreError as error:
        if error.kind != "store.uncertified":
            raise
        return False
    return True


def _live_before(repository: Repository, head: LogEntry) -> str:
    for entry in repository.log.entries():
        if entry.version != head.version:
            return entry.version
    raise UsageError("no other version was ever live", remedy="there is nothing to revert to", kind="usage.revert")


def _require_whole(repository: Repository, version: str) -> None:
    if (number := repository.deeds.versions().get(version)) is not None:
        raise UsageError(
            f"version {version[:12]} had learned rows that log entry {number} unlearned, and was collected then",
            remedy="name a version from before those rows, or from that entry on; see 'dripstone log'",
            kind="usage.collected",
        )


def _move(
    repository: Repository, head: LogEntry, target: str, event: EntryEvent, reason: str, certificate: str | None
) -> LogEntry:
    here, there = ancestors(repository, head.version), ancestors(repository, target)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(here, there, strict=False))))
    number = head.number + 1
    gone, back = learned_places(repository, here[shared:]), learned_places(repository, there[shared:])
    book = without_places(read_book(repository, head), gone.keys() | back.keys())
    returned = set(back.values())
    # Of an id that stands in several places the last one counts: it corrected the others.
    last = {row_id: place for place, row_id in gone.items()}
    why = f"unlearned when {head.version[:12]} was left"
    left = sorted((place, row_id, why) for row_id, place in last.items() if place not in back)
    groups = quarantine_groups(left, number)
    pending = [item for item in book.pending if item.row.id not in returned]
    # A correction of what is left behind may say just what the version has learned that comes back.
    if {item.row.id for item in pending} & set(gone.values()):
        known = _known_to(repository, there)
        pending = [item for item in pending if not is_known(known, item.row)]
    book = msgspec.structs.replace(book, pending=pending, quarantined=[*book.quarantined, *groups])
    return append(repository, number, target, event, reason, book, certificate)


def _known_to(repository: Repository, line: Sequence[str]) -> np.ndarray:
    """Every row that a line of versions has learned or is judged by, each as it was last."""
    known = known_rows([])
    for version in line:
        known = merge_known(known, known_rows(page_rows(repository, version)))
    return known


def admit(repository: Repository, rows: Iterable[Place]) -> LogEntry:
    """Make quarantined rows pending; the next update learns from them and does not ask whether they make sense."""
    head = repository.log.head()
    book = read_book(repository, head)
    chosen = set(rows) & _quarantined(book)
    _require(chosen)
    places = sorted(chosen)
    pending = [
        PendingRow(*place, head.number + 1, row, admitted=True)
        for place, row in zip(places, read_rows(repository, places), strict=True)
    ]
    rest = without_places(book, chosen)
    return append(
        repository,
        head.number + 1,
        head.version,
        "data",
        f"{count(len(pending), 'quarantined row')} admitted",
        msgspec.structs.replace(rest, pending=[*rest.pending, *pending]),
        head.certificate,
    )


def drop(repository: Repository, rows: Iterable[Place]) -> LogEntry:
    """Forget pending or quarantined rows; the ledger still shows that they came."""
    head = repository.log.head()
    book = read_book(repository, head)
    waiting = _quarantined(book) | {(item.page, item.index) for item in book.pending}
    chosen = set(rows) & waiting
    _require(chosen)
    return append(
        repository,
        head.number + 1,
        head.version,
        "data",
        f"{count(len(chosen), 'row')} dropped",
        without_places(book, chosen),
        head.certificate,
    )


def _require(chosen: set[Place]) -> None:
    if not chosen:
        raise UsageError(
            "none of these rows is waiting", remedy="see 'dripstone data list' for the rows that are", kind="usage.rows"
        )


def read_book(repository: Repository, head: LogEntry) -> Book:
    """The rows that wait after an entry."""
    return repository.read_book(head.book) if head.book else Book()


def _quarantined(book: Book) -> set[Place]:
    return {(group.page, index) for group in book.quarantined for index in group.indices}


def append(
    repository: Repository,
    number: int,
    version: str,
    event: EntryEvent,
    reason: str,
    book: Book,
    certificate: str | None,
    **more: Any,
) -> LogEntry:
    """Write the one log entry that makes a move so, after the book that it names; ``more`` are fields of its own."""
    repository.log.require(number - 1)
    entry = LogEntry(
        number=number,
        version=version,
        event=event,
        reason=reason,
        time=now(),
        book=repository.write_book(book),
        certificate=certificate,
        **{"nonce": secrets.token_hex(16), **more},
    )
    repository.log.append(entry)
    return entry
