"""From a lesson to a candidate, by the ladder or by one selection; and what the closed form starts from."""

from __future__ import annotations

from collections.abc import Generator

from dripstone.core.events import Event
from dripstone.curate.policy import parse_policy
from dripstone.select.selection import LADDER, RIDGE, Selection
from dripstone.store.state import TrainingState
from dripstone.train.statistics import Statistics, fade
from dripstone.update import training_state
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import Candidate, train_candidate
from dripstone.update.champion import Champion
from dripstone.update.ladder import climb
from dripstone.update.lesson import Lesson
from dripstone.update.rescale import rescale


def train(attempt: Attempt, lesson: Lesson) -> Generator[Event, None, Candidate]:
    """Train the candidate that the attempt's selection asks for; yields progress."""
    if attempt.selection.name == LADDER:
        candidate = yield from climb(attempt, lesson)
    else:
        candidate = yield from train_candidate(lesson, attempt.selection)
    return (yield from rescale(attempt, lesson, candidate))


def is_solved(champion: Champion, state: TrainingState, selection: Selection) -> bool:
    """Whether the closed form has a say: the loop takes its statistics where they are at hand, and no rebuild is made
    for it."""
    at_hand = state.statistics or not champion.task.labels
    needed = selection.method == RIDGE or selection.name == LADDER
    return champion.solvable and bool(at_hand or needed)


def statistics_so_far(attempt: Attempt) -> Statistics:
    """Those of every row that the champion was trained on, less those that the batch replaces; faded, where the policy
    forgets."""
    batch = attempt.batch
    forget = parse_policy(attempt.config.curate.policy).forget
    statistics = training_state.statistics_of(
        attempt.repository,
        attempt.start.state,
        attempt.champion.model,
        attempt.champion.task,
        without=batch.corrected(),
        forget=forget,
    )
    return statistics if forget is None else fade(statistics, forget.fade(len(batch.training())))
