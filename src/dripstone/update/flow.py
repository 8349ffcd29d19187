"""One update, from arrival to commit.

    screen -> assemble -> encode -> does it make sense? -> train -> store -> judge -> commit

Everything before the commit only adds files that nothing refers to yet; the commit is one create-only log entry. A
crash at any moment therefore leaves the old state or the new one, and a lost race leaves the winner's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial

from dripstone.core import events, processes
from dripstone.core.config import Config
from dripstone.core.errors import DivergedError, StoreError
from dripstone.core.events import Event
from dripstone.core.examples import Example, labels_of
from dripstone.core.protocols import Task
from dripstone.core.records import count
from dripstone.curate.policy import Policy, parse_policy
from dripstone.curate.screen import Screened, Targets, screen
from dripstone.gate import reasons
from dripstone.select.selection import Selection
from dripstone.store.ledger import Array, Book, PageRow
from dripstone.store.repository import Repository
from dripstone.update import training_state
from dripstone.update.attempt import Attempt
from dripstone.update.batch import KNOWN, PENDING, Batch, assemble, check_share
from dripstone.update.candidate import Candidate
from dripstone.update.champion import Champion, head_of
from dripstone.update.commit import Outcome, Start, commit
from dripstone.update.curation import curate, leave_out_duplicates
from dripstone.update.drift import watch
from dripstone.update.hearing import Hearing
from dripstone.update.ladder import backbone_names, tunes_first
from dripstone.update.lesson import encode_batch, make_lesson
from dripstone.update.meter import Meter
from dripstone.update.rehearsal import old_rows
from dripstone.update.selecting import choose_selection
from dripstone.update.sense import (
    ask_champion,
    contradicts_all,
    dispute,
    find_alike,
    find_nonsense,
    find_strange,
    is_contested,
    set_aside_new_labels,
    set_aside_strange,
)
from dripstone.update.training import is_solved, statistics_so_far, train
from dripstone.update.trial import conclude, hear_candidate, judge_candidate, rebuild, store_candidate


def run_update(
    repository: Repository, config: Config, champion: Champion, arrived: Iterable[Example], *, dry_run: bool = False
) -> Iterator[Event]:
    """Learn from a batch; yields events, the last of which is ``Finished``.

    Parameters
    ----------
    repository : Repository
        Where the champion is live.
    config : Config
        The project's settings.
    champion : Champion
        The live version, loaded. It is only read.
    arrived : iterable of Example
        The new rows.
    dry_run : bool
        Train and report, ask no gate, change nothing.

    Raises
    ------
    DataError, UsageError, StoreError
        As the stages say; nothing has changed then.
    RaceLostError
        If somebody else moved the store meanwhile.
    """
    meter, config = Meter(), training_state.with_horizon(config)
    head = head_of(repository, champion, "the update")
    processes.agree("live version and settings", f"{head.number} {champion.version} {config}")
    book = repository.read_book(head.book) if head.book else Book()
    state = training_state.load_state(repository, config, champion.version, champion.model)
    retry = head.verdict == "refused" and head.candidate is None
    start = Start(head.number, book, state, meter, head.certificate, dry_run=dry_run, retry=retry)
    try:
        yield from _run(repository, config, champion, arrived, start)
    except StoreError as error:
        if error.kind == "store.missing":  # where rows were unlearned meanwhile, what was stored so far is deleted
            repository.log.require(start.number)
        raise


def run_first(
    repository: Repository, config: Config, root: Champion, arrived: Iterable[Example], held_out: Sequence[Example]
) -> Iterator[Event]:
    """Train the first version on what ``init`` was given: no gate, since nothing is live that could be harmed."""
    config = training_state.with_horizon(config).override({"gate.mode": "off"})
    state = training_state.load_state(repository, config, root.version, root.model)
    start = Start(0, Book(), state, Meter(), held_out_file=held_out)
    yield from _run(repository, config, root, arrived, start)


def _run(
    repository: Repository, config: Config, champion: Champion, arrived: Iterable[Example], start: Start
) -> Iterator[Event]:
    selection = choose_selection(config, champion)
    batch = yield from gather(repository, config, champion, arrived, start)
    processes.agree("rows", batch.fingerprint())
    if _has_nothing(batch, start):
        outcome = _nothing_to_learn(batch)
    elif not batch.training() and not champion.task.labels:
        outcome = _only_held_out()
    else:
        outcome = yield from _learn(repository, config, champion, selection, batch, start)
    outcome.reason = _with_notes(outcome, batch)
    yield events.Finished(commit(repository, config, champion, batch, start, outcome))


def gather(
    repository: Repository, config: Config, champion: Champion, arrived: Iterable[Example], start: Start
) -> Generator[Event, None, Batch]:
    """The rows that take part: the new ones that can be learned from, and those that wait; parted by the keyed hash."""
    policy = parse_policy(config.curate.policy)  # a word that is not known is an error, also where nothing comes of it
    screened, start.held_out_file = _screen(champion, arrived, start, policy)
    kept = len(screened.kept) + len(start.held_out_file)
    yield events.Screened(kept + len(screened.rejected), kept, screened.reasons())
    check_share(start.book, config.gate.holdout)
    batch = assemble(
        start.book,
        training_state.known_of(start.state),
        screened.kept,
        screened.rejected,
        key=repository.holdout_key,
        share=config.gate.holdout,
        held_out_file=start.held_out_file,
    )
    leave_out_duplicates(batch, policy, start.state)
    return batch


def _with_notes(outcome: Outcome, batch: Batch) -> str:
    """The reason, with what else was decided: labels that were set aside, rows that a person admitted, a new scale."""
    notes = [] if outcome.verdict == "refused" and not outcome.stored else list(dict.fromkeys(batch.notes))
    if outcome.stored and (admitted := batch.admitted()):
        notes.append(f"a person admitted {count(admitted, 'row')} of it")
    if outcome.candidate and outcome.candidate.rescaled:
        notes.append("the candidate's columns have a new scale")
    return "; besides, ".join([outcome.reason, "; ".join(notes)]) if notes else outcome.reason


def _screen(
    champion: Champion, arrived: Iterable[Example], start: Start, policy: Policy
) -> tuple[Screened, list[Example]]:
    """The new rows, and what is kept of those that are held out whatever their hash."""
    preprocess = champion.model.preprocess
    waiting = [item.row for item in start.book.pending]
    labels = champion.task.labels or labels_of(row.target for row in waiting)
    # A model that takes any shape takes one shape for life: that of the rows it was trained on.
    shapes = preprocess.accepted or _shapes([*start.state.replay[:1], *start.state.trusted[:1], *waiting[:1]])
    schema, known = start.state.schema, policy.screen.known and bool(champion.task.labels)
    look = partial(screen, kind=preprocess.kind, shapes=shapes, schema=schema, targets=_targets(champion.task))
    screened = look(arrived, labels=labels, known=known)
    labels = labels or labels_of(row.target for row in screened.kept)
    held_out = look(start.held_out_file, labels=labels)
    screened.rejected += held_out.rejected
    return screened, held_out.kept


def _targets(task: Task) -> Targets:
    if task.replies:
        return "replies"
    return "numbers" if task.numbers else "texts" if task.texts else "labels"


def _shapes(rows: Sequence[PageRow]) -> list[tuple[int, ...]]:
    return [tuple(row.inputs.shape) for row in rows[:1] if isinstance(row.inputs, Array)]


def _has_nothing(batch: Batch, start: Start) -> bool:
    return not (batch.has_news() or (start.retry and batch.rows))


def _nothing_to_learn(batch: Batch) -> Outcome:
    known = sum(reason in (KNOWN, PENDING) for _, reason in batch.rejected)
    if known == 0 and batch.rejected:
        example, reason = batch.rejected[0]
        return Outcome("undecided", f"all {len(batch.rejected)} rows were rejected; {example.origin}: {reason}")
    return Outcome("unchanged", "nothing new to learn")


def _learn(
    repository: Repository, config: Config, champion: Champion, selection: Selection, batch: Batch, start: Start
) -> Generator[Event, None, Outcome]:
    first = not champion.task.labels and not champion.task.numbers
    trains = backbone_names(selection, champion.model, first=first)  # type: ignore[arg-type]
    encoding = yield from encode_batch(champion, batch, trains, whole=not tunes_first(selection, champion, batch))
    if _has_nothing(batch, start):  # the preprocessing, which is only now sure to be fitted, has rejected the rest
        return _nothing_to_learn(batch)
    if parse_policy(config.curate.policy).drift and champion.task.labels:
        start.watched = watch(champion, batch, encoding, start.state, start.number, config.train.seed)
        if start.watched.drift.words:
            yield events.Drifted(tuple(start.watched.drift.words))
    attempt = Attempt(repository, config, champion, selection, batch, encoding, start)
    if not attempt.asks:
        yield from curate(champion, batch, encoding, config, start.state)
        return (yield from _contend(attempt))
    with start.meter.gate():
        opinion = ask_champion(champion, batch, encoding, start.state, config)
        found = find_nonsense(champion, batch, opinion, config)
    if found:
        rows, reason = found
        for row in rows:
            row.quarantined = reason
        return Outcome("refused", reason, keep_rows=True)
    yield from curate(champion, batch, encoding, config, start.state)
    with start.meter.gate():
        batch.alike = find_alike(champion, batch, opinion, start.state)
        batch.disputed = is_contested(batch, opinion)
        batch.contested = batch.disputed or contradicts_all(batch, opinion, config)
        find_strange(batch, opinion, config)
    outcome = yield from _contend(attempt)
    must_not_wait = batch.disputed and config.gate.mode == "steady"
    if outcome.verdict == "undecided" and (must_not_wait or not outcome.gained()):
        dispute(batch, opinion, start.state)
    return outcome


def _only_held_out() -> Outcome:
    return Outcome("undecided", "every row so far is held out for judging; send more labelled rows")


def _all_left_out(batch: Batch) -> Outcome | None:
    """Where curation has left out every row that could be learned: they wait, and are looked at again with the next."""
    reasons = [row.left_out for row in batch.rows if row.left_out is not None]
    if not reasons:
        return None
    return Outcome("undecided", f"all {len(reasons)} rows to learn from were left out; {reasons[0]}")


def _contend(attempt: Attempt) -> Generator[Event, None, Outcome]:
    """Train and try a candidate, again without rows that make no sense, until the gate has judged one."""
    batch, start = attempt.batch, attempt.start
    if not batch.training() and not batch.notes:
        return _all_left_out(batch) or _only_held_out()
    if not any(row.training_weight > 0 for row in batch.training()):
        return Outcome("undecided", "every row to learn from has weight 0; give some of them a weight above 0")
    whole = start.state
    try:
        while batch.training():
            start.state = training_state.without_rows(whole, batch.corrected())
            candidate = yield from _train(attempt)
            if start.dry_run:
                return Outcome("undecided", "dry run: trained, not judged, nothing changed", candidate)
            outcome = yield from _try(attempt, candidate)
            if outcome is not None:
                return outcome
    except DivergedError as error:
        return Outcome("refused", f"{error.message}; {error.remedy}, the rows stay pending", keep_rows=True)
    return Outcome("refused", reasons.nothing_left(batch.notes), keep_rows=True)


def _train(attempt: Attempt) -> Generator[Event, None, Candidate]:
    champion, state, config = attempt.champion, attempt.start.state, attempt.config
    solved = is_solved(champion, state, attempt.selection)
    lesson = make_lesson(
        champion,
        attempt.encoding,
        attempt.batch,
        replay=old_rows(parse_policy(config.curate.policy).replay, champion, state, config.train.seed),
        statistics=statistics_so_far(attempt) if solved else None,
        config=config,
        carried=state.optimizer,
        turn=attempt.start.number,
    )
    return (yield from train(attempt, lesson))


def _try(attempt: Attempt, candidate: Candidate) -> Generator[Event, None, Outcome | None]:
    """Store the candidate, hear it, and ask the gate; None if rows were set aside, so that it is trained anew."""
    stored = store_candidate(attempt, candidate)
    yield events.Stored(stored.version, stored.delta_bytes)
    with attempt.start.meter.gate():
        model = rebuild(attempt, stored)
        hearing = hear_candidate(attempt, candidate, model)
        if attempt.asks and _set_aside(attempt, hearing):
            return None
        judgement = judge_candidate(attempt, model, hearing)
    return conclude(attempt, candidate, stored, hearing, judgement)


def _set_aside(attempt: Attempt, hearing: Hearing) -> bool:
    # First, while the batch's held-out rows are those that were heard.
    strange = set_aside_strange(hearing, attempt.batch)
    return bool(set_aside_new_labels(attempt.champion, hearing, attempt.batch, attempt.config)) or strange
