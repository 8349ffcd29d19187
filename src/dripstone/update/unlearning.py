"""Unlearning: rows leave the store, and what is live becomes what it would be without them.

    find the rows -> what they trained -> solve the head anew -> write -> one log entry -> delete

Everything before the log entry only adds files that nothing refers to yet; everything after it deletes files that
nothing reads any more, and is done again where it was cut short. The gate is not asked: a person asks for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from dripstone.core.config import Config
from dripstone.core.errors import UsageError
from dripstone.core.examples import holdout_hash
from dripstone.core.records import (
    Certificate,
    ExampleCounts,
    LogEntry,
    Update,
    count,
    now,
)
from dripstone.core.unlearning import Unlearning
from dripstone.store.collecting import finish, would_free
from dripstone.store.deeds import Deed, id_mark
from dripstone.store.ledger import Book, Page
from dripstone.store.repository import Repository
from dripstone.store.state import TrainingState
from dripstone.update import effect, succession, training_state
from dripstone.update.bookkeeping import without_places
from dripstone.update.certify import rules_of
from dripstone.update.champion import Champion, head_of
from dripstone.update.lineage import ancestors
from dripstone.update.moves import append, read_book
from dripstone.update.shaping import find_shaped, retraining
from dripstone.update.succession import Succession
from dripstone.update.traces import Traces, descendants, find_traces, trained_with


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What is to be done: the rows' traces, the book without them, what is collected, and the next version if any."""

    head: LogEntry
    state: TrainingState
    traces: Traces
    book: Book
    gone: set[str]
    next: Succession | None
    report: Unlearning


def unlearn(
    repository: Repository, config: Config, champion: Champion, ids: Sequence[str], *, dry_run: bool = False
) -> Unlearning:
    """Take the rows of some ids out of the store, and out of what is live.

    Parameters
    ----------
    repository : Repository
        Where the champion is live.
    config : Config
        The project's settings.
    champion : Champion
        The live version, loaded. It is only read.
    ids : sequence of str
        Of the rows, as ``Example.id`` has them.
    dry_run : bool
        Report, and change nothing.

    Raises
    ------
    UsageError
        ``usage.never_learned`` if a row of one of these ids is nowhere in the store; nothing has changed then.
    RaceLostError
        If somebody else moved the store meanwhile; nothing has changed then.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted or "" in wanted:
        raise UsageError("no row is named", remedy="give ids of rows", kind="usage.rows")
    config = training_state.with_horizon(config)
    head = head_of(repository, champion, "the unlearning")
    cut_short = repository.deeds.unfinished()
    traces = find_traces(repository, set(wanted))
    if done := _done_before(repository, wanted, traces, cut_short, dry_run=dry_run):
        return done
    _require_all(repository, wanted, traces)
    plan = _plan(repository, config, champion, head, wanted, traces)
    if dry_run:
        return msgspec.structs.replace(plan.report, dry_run=True, bytes_freed=_would_free(repository, plan))
    return _commit(repository, config, champion, plan)


def _done_before(
    repository: Repository, wanted: Sequence[str], traces: Traces, cut_short: dict[str, Deed], *, dry_run: bool
) -> Unlearning | None:
    """The end of the very same command, where it was cut short after its commit; None where it is another one."""
    marks = {id_mark(repository.holdout_key, row_id) for row_id in wanted}
    deed = next((deed for deed in cut_short.values() if marks <= set(deed.ids)), None)
    if deed is None or traces.ids or dry_run:
        return None
    entry = repository.log.entry(deed.number)
    freed = finish(repository).size
    return Unlearning(
        ids=list(wanted),
        number=deed.number,
        version=entry.version,
        reason=f"{entry.reason} (by log entry {deed.number}, whose deletions were cut short, and are done now)",
        exact=deed.exact,
        solved=deed.penalty is not None,
        collected=deed.versions,
        bytes_freed=freed,
    )


def _require_all(repository: Repository, wanted: Sequence[str], traces: Traces) -> None:
    missing = [row_id for row_id in wanted if row_id not in traces.ids]
    if not missing:
        return
    mark = id_mark(repository.holdout_key, missing[0])
    before = [deed.number for deed in repository.deeds.committed().values() if mark in deed.ids]
    more = f" (and {count(len(missing) - 1, 'other id')})" if len(missing) > 1 else ""
    what = f"was unlearned by log entry {before[-1]}" if before else "is the id of no row in this store"
    raise UsageError(
        f"{missing[0]!r}{more} {what}; nothing has changed",
        remedy="give whole ids, as 'dripstone show V --examples --format json' has them",
        kind="usage.never_learned",
    )


def _plan(
    repository: Repository, config: Config, champion: Champion, head: LogEntry, wanted: list[str], traces: Traces
) -> _Plan:
    state = training_state.load_state(repository, config, champion.version, champion.model)
    before = read_book(repository, head)
    book = _without(repository, before, traces)
    trained = trained_with(repository, traces)
    gone = descendants(repository, trained.keys())
    next_, shaped = None, []
    if champion.version in gone:
        view = repository.with_pages(traces.pages)
        next_ = succession.succeed(repository, view, config, champion, gone)
        used_up = gone | repository.deeds.versions().keys()
        shaped = find_shaped(repository, champion.version, trained, used_up, features_only=not next_.inexact)
    report = Unlearning(
        ids=wanted,
        number=None,
        version=None if next_ else champion.version,
        reason=effect.reason(traces, next_, shaped, gone),
        exact=not shaped and (next_ is None or not (next_.inexact or next_.weighed)),
        solved=next_ is not None and not next_.inexact,
        inexact=next_.inexact if next_ else "",
        weighed=next_ is not None and next_.weighed,
        removed=effect.removed(traces, before, book, state),
        collected=sorted(gone),
        shaped=shaped,
        retrain=retraining(repository, shaped),
        labels=effect.labels_without_rows(champion.task, state, next_),
        **effect.measured(champion, next_, state, traces),
    )
    return _Plan(head, state, traces, book, gone, next_, report)


def _without(repository: Repository, book: Book, traces: Traces) -> Book:
    """The book without the rows; what recognises them as held out goes as well, unless another row needs it."""
    left = without_places(book, traces.places.keys())
    left = msgspec.structs.replace(left, pending=[item for item in left.pending if item.row.id not in traces.ids])
    if not left.held_out:
        return left
    key = repository.holdout_key
    gone: set[bytes] = set()
    others: set[bytes] = set()
    for name in repository.pages():
        for index, row in enumerate(repository.read_page(name).rows):
            if row.role not in ("unlearned", "rejected"):
                mark = holdout_hash(key, row.example().inputs).to_bytes(8, "big")
                (gone if (name, index) in traces.places else others).add(mark)
    return msgspec.structs.replace(left, held_out=[mark for mark in left.held_out if mark not in gone - others])


def _commit(repository: Repository, config: Config, champion: Champion, plan: _Plan) -> Unlearning:
    """Write everything, then the log entry that makes it so, then delete."""
    number, nonce, report = plan.head.number + 1, secrets.token_hex(16), plan.report
    version, certificate = champion.version, plan.head.certificate
    more: dict[str, Any] = {}
    if plan.next is not None:
        stored = succession.store(repository, champion, plan.next)
        version = stored.version
        page = repository.write_page(Page(champion.version, version, [], plan.next.carried))
        repository.write_candidate_page(version, page)
        report = msgspec.structs.replace(report, version=version, delta_bytes=stored.delta_bytes)
        certificate = _vouch(repository, config, champion, plan, version)
        repository.write_record(version, number, nonce, _record(champion, plan, report, number))
        _write_state(repository, config, plan, version)
        more = {"candidate": version, "page": page}
    key = repository.holdout_key
    deed = Deed(
        number=number,
        ids=sorted(id_mark(key, row_id) for row_id in report.ids),
        pages={name: repository.write_page(page) for name, page in plan.traces.pages.items()},
        versions=sorted(plan.gone),
        states=_states(repository, plan, version),
        exact=report.exact,
        penalty=plan.next.penalty if plan.next else None,
        forget=plan.next.forget if plan.next else "",
    )
    more |= {"verdict": "unlearned", "nonce": nonce, "unlearned": repository.deeds.write(deed)}
    append(repository, number, version, "unlearn", report.reason, plan.book, certificate, **more)
    return msgspec.structs.replace(report, number=number, bytes_freed=finish(repository).size)


def _vouch(repository: Repository, config: Config, champion: Champion, plan: _Plan, version: str) -> str:
    """A person's certificate; the new version is the best so far where that was collected."""
    return repository.write_certificate(
        Certificate(
            version=version,
            merkle=repository.manifest(version).merkle,
            source="person",
            verdict="unlearned",
            reason=plan.report.reason,
            number=plan.head.number + 1,
            time=now(),
            champion=champion.version,
            champion_merkle=repository.manifest(champion.version).merkle,
            anchor=plan.state.anchor,
            next_anchor=_anchor(plan, version),
            rules=rules_of(config, plan.book.tested),
        )
    )


def _anchor(plan: _Plan, version: str) -> str:
    return version if plan.state.anchor in plan.gone else plan.state.anchor


def _record(champion: Champion, plan: _Plan, report: Unlearning, number: int) -> Update:
    """The report that stays beside the version: without ids."""
    assert plan.next is not None
    return Update(
        version=report.version,
        parent=champion.version,
        verdict="unlearned",
        reason=report.reason,
        selection=succession.SELECTION,
        penalty=plan.next.penalty,
        look=plan.state.look,
        examples=ExampleCounts(
            trained=len(plan.next.left) if plan.next.statistics is not None else 0,
            pending=len(plan.book.pending),
            quarantined=sum(len(group.indices) for group in plan.book.quarantined),
        ),
        metrics=report.metrics,
        anchor=plan.state.anchor,
        delta_bytes=report.delta_bytes,
        number=number,
        time=now(),
    )


def _write_state(repository: Repository, config: Config, plan: _Plan, version: str) -> None:
    """What training remembers, from the ledger as it will be."""
    assert plan.next is not None
    view = repository.with_pages(plan.traces.pages)
    state = training_state.rebuild_state(view, config, version, _anchor(plan, version), plan.next.model)
    statistics = plan.next.statistics
    repository.write_state(
        replace(state, look=plan.state.look, statistics={} if statistics is None else statistics.to_raw())
    )


def _states(repository: Repository, plan: _Plan, version: str) -> list[str]:
    """Training states that remember the rows, or may: of versions that took them in, and of unknown ones."""
    known = set(repository.versions()) - plan.gone
    found = []
    for name, owner in repository.states():
        if plan.next is not None and owner == version:
            continue  # the one that was written just now, or by the same command before it was killed
        if owner not in known or _took_part(repository, plan.traces, owner):
            found.append(name)
    return found


def _took_part(repository: Repository, traces: Traces, version: str) -> bool:
    return any(repository.page_of(ancestor) in traces.learned() for ancestor in ancestors(repository, version))


def _would_free(repository: Repository, plan: _Plan) -> int:
    """Bytes that would be deleted; what the next version will need of them is not known yet where it is solved."""
    gone = plan.gone if plan.next is None or not plan.next.inexact else plan.gone - {plan.head.version}
    return would_free(repository, plan.traces.pages.keys(), _states(repository, plan, ""), gone)
