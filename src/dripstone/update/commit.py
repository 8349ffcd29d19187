"""The commit: what an update found, how it ended, and the one log entry that makes it so."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from dripstone.core import processes
from dripstone.core.config import Config
from dripstone.core.examples import Example, Label
from dripstone.core.records import (
    Cost,
    Evidence,
    Flips,
    HarmTest,
    LogEntry,
    MetricsPair,
    Parameters,
    Update,
    Verdict,
    now,
)
from dripstone.gate.judge import Judgement
from dripstone.store.collecting import finish
from dripstone.store.ledger import Book
from dripstone.store.repository import Repository, StoredVersion
from dripstone.store.state import TrainingState
from dripstone.update import bookkeeping, lineage
from dripstone.update.batch import Batch, hashes
from dripstone.update.candidate import Candidate
from dripstone.update.certify import certify
from dripstone.update.champion import Champion
from dripstone.update.drift import Watched
from dripstone.update.hearing import Hearing
from dripstone.update.meter import Meter

MAX_REASONS = 50


SWEEP_EVERY = 16
"""Log entries between two clean-ups of superseded books and of what a killed writer left behind."""


@dataclass(slots=True, eq=False)
class Start:
    """What the update found: the log's number, the book, the champion's training state.

    ``certificate`` is what vouches for the champion, ``watched`` what was found where the policy watches for drift.
    ``retry`` says that the last update ended before it had a candidate, so that its rows deserve another try.
    """

    number: int
    book: Book
    state: TrainingState
    meter: Meter
    certificate: str | None = None
    held_out_file: Sequence[Example] = ()
    dry_run: bool = False
    retry: bool = False
    watched: Watched | None = None


@dataclass(slots=True, eq=False)
class Outcome:
    """How the update ended, and what there is to keep of it.

    ``next_state`` counts if the verdict is a promotion;
    ``keep_rows`` says that a refusal is not the rows' fault.
    """

    verdict: Verdict
    reason: str
    candidate: Candidate | None = None
    stored: StoredVersion | None = None
    hearing: Hearing | None = None
    judgement: Judgement | None = None
    next_state: TrainingState | None = None
    keep_rows: bool = False
    cost: Cost = field(default_factory=Cost)

    def gained(self) -> bool:
        """Whether a gain was measured on held-out rows, proven or not."""
        return self.judgement is not None and self.judgement.gain is not None and self.judgement.gain > 0


def commit(
    repository: Repository, config: Config, champion: Champion, batch: Batch, start: Start, outcome: Outcome
) -> Update:
    """Make the outcome so: page, book, state and record first, then the log entry that refers to them.

    A dry run is only reported, and an update that neither learned nor rejected anything leaves no entry.

    Raises
    ------
    RaceLostError
        If the log has moved since the update began; nothing refers to what was written then.
    """
    outcome.cost = start.meter.read()
    processes.agree("verdict", f"{outcome.verdict}: {outcome.reason}")
    write = partial(_commit, repository, config, champion, batch, start, outcome)
    return processes.by_first(write, Update)


def _commit(
    repository: Repository, config: Config, champion: Champion, batch: Batch, start: Start, outcome: Outcome
) -> Update:
    repository.log.require(start.number)
    number = start.number + 1
    version = outcome.stored.version if outcome.stored else None
    spent = outcome.judgement is not None and outcome.judgement.evidence.alpha_spent > 0
    page = bookkeeping.make_page(batch, champion.version, version)
    unchanged = outcome.verdict == "unchanged" and len(page.carried) == len(start.book.pending)
    silent = start.dry_run or (unchanged and batch.only_repeats())
    digest = "" if silent else repository.write_page(page)
    again = lineage.quarantined_places(repository, start.book, batch.arrived())
    book, dropped = bookkeeping.settle(
        bookkeeping.without_places(start.book, again),
        batch,
        digest,
        number,
        outcome.verdict,
        outcome.reason,
        spent=spent,
        keep_rows=outcome.keep_rows,
        cap=config.store.pending,
        share=config.gate.holdout,
        held_out=hashes(repository.holdout_key, start.held_out_file),
    )
    if start.dry_run:
        book, dropped = start.book, 0
    update = _report(champion, batch, start, outcome, book, dropped, None if silent else number)
    if not silent:
        judged = _certify(repository, config, update, batch, start, outcome)
        _append(repository, update, outcome.next_state, digest, book, judged, start.certificate)
        if update.promoted:
            repository.prune_states(keep=_recently_live(repository, config.store.keep_states))
        finish(repository)  # where deleting what was unlearned was cut short
        if number % SWEEP_EVERY == 0:
            repository.sweep()
    return update


def _certify(
    repository: Repository, config: Config, update: Update, batch: Batch, start: Start, outcome: Outcome
) -> str | None:
    """Write the certificate of a candidate that was judged, and return its name."""
    if outcome.stored is None or outcome.hearing is None or outcome.judgement is None:
        return None
    assert update.parent is not None
    assert update.number is not None
    certificate = certify(
        repository,
        config,
        version=outcome.stored.version,
        champion=update.parent,
        anchor=start.state.anchor,
        next_anchor=outcome.next_state.anchor if outcome.next_state else start.state.anchor,
        hearing=outcome.hearing,
        judgement=outcome.judgement,
        tested=start.book.tested,
        contested=batch.contested,
        number=update.number,
        time=update.time,
    )
    return repository.write_certificate(certificate)


def _append(
    repository: Repository,
    update: Update,
    next_state: TrainingState | None,
    page: str,
    book: Book,
    judged: str | None,
    certificate: str | None,
) -> None:
    version, number = update.version, update.number
    assert update.parent is not None
    assert number is not None
    nonce = secrets.token_hex(16)
    if version is not None:
        repository.write_candidate_page(version, page)
        repository.write_record(version, number, nonce, update)
    if update.promoted and next_state is not None:
        repository.write_state(next_state)
    entry = LogEntry(
        number=number,
        version=version if update.promoted and version else update.parent,
        event="init" if number == 1 else "update",
        reason=update.reason,
        nonce=nonce,
        time=update.time,
        verdict=update.verdict,
        candidate=version,
        page=page,
        book=repository.write_book(book),
        certificate=judged if update.promoted else certificate,
        judged=judged,
    )
    repository.log.append(entry)


def _recently_live(repository: Repository, count: int) -> set[str]:
    versions: set[str] = set()
    for entry in repository.log.entries():
        versions.add(entry.version)
        if len(versions) == count:
            break
    return versions


def _new_labels(champion: Champion, candidate: Candidate | None) -> list[Label]:
    if candidate is None or candidate.task.numbers or candidate.task.texts:
        return []
    return list(candidate.task.labels[len(champion.task.labels) :])


def _rejections(batch: Batch) -> dict[str, int]:
    """Rejected rows by reason, the commonest ones: a reason may quote its row, and a report has a bounded size."""
    left_out = [row.left_out for row in batch.rows if row.left_out is not None and row.quarantined is None]
    counts = Counter([reason for _, reason in batch.rejected] + left_out)
    named = dict(counts.most_common(MAX_REASONS))
    rest = sum(counts.values()) - sum(named.values())
    return {**named, "other reasons": rest} if rest else named


def _report(
    champion: Champion, batch: Batch, start: Start, outcome: Outcome, book: Book, dropped: int, number: int | None
) -> Update:
    candidate, judgement = outcome.candidate, outcome.judgement
    trained, replayed = (candidate.trained, candidate.replayed) if candidate else (0, 0)
    return Update(
        version=outcome.stored.version if outcome.stored else None,
        parent=champion.version,
        verdict=outcome.verdict,
        promoted=outcome.verdict == "promoted",
        reason=outcome.reason,
        selection=str(candidate.selection) if candidate else "",
        penalty=candidate.penalty if candidate else None,
        rungs=candidate.rungs if candidate else [],
        look=candidate.look if candidate else None,
        drift=start.watched.drift if start.watched else None,
        parameters=candidate.parameters if candidate else Parameters(),
        examples=bookkeeping.count_rows(batch, book, trained, replayed, dropped),
        new_labels=_new_labels(champion, candidate),
        rejections=_rejections(batch),
        metrics=judgement.metrics if judgement else MetricsPair(),
        intrusion=judgement.intrusion if judgement else 0.0,
        evidence=judgement.evidence if judgement else Evidence(),
        harm=judgement.harm if judgement else HarmTest(),
        flips=judgement.flips if judgement else Flips(),
        anchor=start.state.anchor if judgement else None,
        delta_bytes=outcome.stored.delta_bytes if outcome.stored else 0,
        cost=outcome.cost,
        number=number,
        time=now(),
    )
