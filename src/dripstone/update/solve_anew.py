"""A head solved anew: where the features have moved, over every row so far, from the ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dripstone.core.parts import HEAD, Chosen
from dripstone.core.protocols import Model
from dripstone.core.records import Rung
from dripstone.curate.policy import parse_policy
from dripstone.select.selection import Selection
from dripstone.store.ledger import PageRow
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import Candidate, check_finite, count_parameters, penalty_of, solve_head
from dripstone.update.lesson import Lesson
from dripstone.update.training_state import fresh_statistics, trained_rows


def old_rows(attempt: Attempt, lesson: Lesson) -> list[PageRow]:
    """Every row that the champion was trained on, less those corrected now; faded, where the policy forgets."""
    return trained_rows(
        attempt.repository,
        attempt.champion.version,
        without=attempt.batch.corrected(),
        forget=parse_policy(attempt.config.curate.policy).forget,
        newer=len(lesson.rows),
    )


def solve_anew(lesson: Lesson, model: Model, selection: Selection, old: Sequence[PageRow]) -> Candidate:
    """A candidate of a fork whose features are not the champion's; one forward pass over the old rows.

    Parameters
    ----------
    lesson : Lesson
        With ``known`` the fork's own features of the new rows.
    model : Model
        The fork; its head is overwritten.
    selection : Selection
        What moved.
    old : sequence of PageRow
        Of ``old_rows``.
    """
    began = time.process_time()
    statistics, score = solve_head(lesson, model, fresh_statistics(old, model, lesson.champion.task))
    check_finite(model)
    return Candidate(
        model=model,
        task=lesson.task,
        selection=selection,
        statistics=statistics,
        rungs=[Rung(str(selection), score, time.process_time() - began)],
        parameters=count_parameters(model, Chosen(list(HEAD))),
        trained=len(lesson.rows),
        replayed=0,
        penalty=penalty_of(lesson, model),
    )
