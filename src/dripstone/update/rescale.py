"""A new scale: where the rows so far show that the columns are badly scaled, and nothing that has learned lies between.

The first stage sets the scale, and may be small, or all of January. So the scale is looked at whenever the number of
learned rows has passed a power of two. Where it is badly off, the head is solved over every row so far at the scale
that they ask for, and that candidate goes to the gate, unless it has more of the new rows wrong, left out one by one,
than the head at the old scale.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch

from dripstone.core.events import Event, Rescaled, Trained
from dripstone.core.parts import HEAD
from dripstone.core.protocols import Model
from dripstone.core.records import Rung
from dripstone.core.spacing import spaced
from dripstone.models.head import FIT_ROWS, PENALTY
from dripstone.models.moments import Moments, join_moments, read_moments
from dripstone.select.selection import RIDGE
from dripstone.store.ledger import PageRow
from dripstone.train.features import features_of
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import Candidate
from dripstone.update.lesson import Lesson, training_weights
from dripstone.update.moments import scaling_of
from dripstone.update.solve_anew import old_rows, solve_anew

FEWEST = 64
"""Learned rows from which on the scale is looked at."""


def passes_power(before: int, after: int) -> bool:
    """Whether a power of two lies above ``before`` and not above ``after``, from `FEWEST` on; never for first rows.

    All the passes of a life then read fewer than two rows for each that was learned.

    Examples
    --------
    >>> [passes_power(*counts) for counts in [(127, 128), (128, 255), (100, 600), (20, 63), (0, 500)]]
    [True, False, True, False, False]
    """
    return before > 0 and max(before, FEWEST - 1).bit_length() < after.bit_length()


def rescale(attempt: Attempt, lesson: Lesson, head: Candidate) -> Generator[Event, None, Candidate]:
    """The same head at the scale that all rows so far ask for, where that is due and no worse; else ``head`` itself.

    Parameters
    ----------
    attempt : Attempt
        Where the moments are, and the ledger that the old rows come from.
    lesson : Lesson
        What ``head`` was trained on.
    head : Candidate
        Of the closed form, at the champion's scale.
    """
    began = time.process_time()
    measured = _measure(attempt, lesson, head)
    if measured is None:
        return head
    moments, columns = measured
    old = old_rows(attempt, lesson)
    model = _at_new_scale(lesson, moments, old)
    lesson = replace(lesson, known=features_of(model, [row.inputs for row in lesson.rows]))
    anew = solve_anew(lesson, model, head.selection, old)
    score, spent = anew.rungs[0].score, time.process_time() - began
    rungs = [*head.rungs, Rung(f"{head.selection} at a new scale", score, spent)]
    yield Trained(rungs[-1].selection, spent)
    if score is not None and score < (head.rungs[0].score or 0.0):
        return replace(head, rungs=rungs)
    yield Rescaled(columns, len(old) + len(lesson.rows))
    return replace(anew, rungs=rungs, look=head.look, rescaled=True)


def _measure(attempt: Attempt, lesson: Lesson, head: Candidate) -> tuple[Moments, int] | None:
    """Moments of all rows with the new ones, and how many columns are badly scaled; None where nothing is due."""
    scaling = scaling_of(lesson.champion.model)
    known = None if scaling is None else read_moments(attempt.start.state.moments, scaling.size)
    if scaling is None or known is None or head.selection.method != RIDGE:
        return None
    batch, after = attempt.batch, known.rows + len(lesson.rows)
    arrived = sum(batch.rows[place].origin is None for place in batch.places(held_out=False))
    # Where the last update passed a power and was not promoted, its rows wait: the pass is not made for them again.
    if not passes_power(after - arrived, after):
        return None
    moments = join_moments(known, scaling.measure([row.inputs for row in lesson.rows]))
    columns = scaling.badly_scaled(moments)
    return (moments, columns) if columns else None


def _at_new_scale(lesson: Lesson, moments: Moments, old: Sequence[PageRow]) -> Model:
    """A fork with the new scale, and a head whose width and penalty are chosen as on the first rows."""
    model = lesson.fork(HEAD)
    model.preprocess.rescale(moments)
    rows = [*old, *lesson.rows]
    drawn = [rows[place] for place in spaced(len(rows), FIT_ROWS).tolist()]
    examples = [row.example() if isinstance(row, PageRow) else row for row in drawn]
    features = features_of(model, [example.inputs for example in examples])
    targets = torch.from_numpy(lesson.task.encode([example.target for example in examples]))
    model.head.refit(features)
    model.head.penalty.fill_(PENALTY)
    choose_hyperparameters(model.head, features, targets, training_weights(examples), lesson.config.train.ridge)
    return model
