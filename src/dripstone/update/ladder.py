"""The ladder: the head in closed form where the features keep up, and the last blocks where they do not.

Features are looked at twice. On the first rows, where there are enough, the last blocks are tuned to the task: the
classes to come profit from that, too. After that the closed form's leave-one-out score of the new rows is watched, at
no cost; where it falls behind what the features were last good for, the next rungs are trained on some of the training
rows and tried on others, beside the head alone. A rung that wins gives the features; the head is then solved
in closed form over every row so far, from the ledger, so that it is as exact as before.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace

import msgspec
import torch
from torch import nn

from dripstone.core.config import TrainConfig
from dripstone.core.events import Event, Trained
from dripstone.core.fork import fork
from dripstone.core.protocols import Model
from dripstone.core.records import Rung
from dripstone.select.ladder import rungs
from dripstone.select.selection import LADDER, RIDGE, Selection, parse_selection
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import features_from
from dripstone.train.features import head_logits
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.loop import run_loop
from dripstone.train.prototypes import Prototypes
from dripstone.train.rows import Rows
from dripstone.train.statistics import Statistics, add_rows, no_rows
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import (
    Candidate,
    Lesson,
    check_finite,
    count_parameters,
    solve_head,
    train_candidate,
)
from dripstone.update.training_state import statistics_of

FIRST_ROWS = 200
"""Training rows from which on the first ones tune the features."""

BEHIND = 0.1
"""By how much the score of new rows may fall below what the features were last good for."""

SLOWER = 0.2
"""Share of the learning rate at which blocks begin to move: they know something already, the head does not."""

EPOCHS = 3
"""Over which blocks are tuned, at a rate that falls to 0 in a line."""

TRIED = 5
"""One training row in so many is tried, not learned, when rungs are compared."""

TUNED_ROWS = 1000
"""Training rows on which blocks are tuned at most. Features that have seen every row serve new ones no better."""


def backbone_names(selection: Selection, model: nn.Module, *, first: bool) -> list[str]:
    """Names of the blocks' parameters that an update may move, as far as that is known before it has seen its rows.

    None for selections that leave nothing below them that could be cached; ``first`` says that the model has no labels.
    """
    if selection.name == LADDER and first:
        selection = parse_selection(rungs(model, RIDGE, "adamw")[-1])
    if selection.name != "suffix":
        return []
    return [name for name in selection.parameters(model) if name.startswith("backbone.")]


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A rung that was trained on some of the rows, and which of the others it has right, [rows] bool."""

    selection: Selection
    model: Model
    right: torch.Tensor
    rung: Rung


def climb(attempt: Attempt, lesson: Lesson) -> Generator[Event, None, Candidate]:
    """Train the rung that this update needs; yields progress.

    Parameters
    ----------
    attempt : Attempt
        Where the ledger is that the statistics are rebuilt from.
    lesson : Lesson
        With statistics.
    """
    starter = lesson.encoding.starter
    lowest, *higher = map(parse_selection, rungs(starter, RIDGE, lesson.config.train.optimizer))
    first = not lesson.champion.task.labels
    head: Candidate | None = None
    if not (first and higher and len(lesson.rows) >= FIRST_ROWS and len(lesson.task.labels) > 1):
        head = yield from train_candidate(lesson, lowest)
        if not higher or _keeps_up(head, attempt.start.state.reference):
            return _referred(head, attempt.start.state.reference)
    lesson = _with_cache(lesson, higher[-1])
    tried = yield from _try_rungs(lesson, higher[-1:] if first else higher, first=first)
    best = tried[-1]
    if best.selection.name != "head":
        return (yield from _finish(attempt, lesson, best, [one.rung for one in tried]))
    head = head or (yield from train_candidate(lesson, lowest))
    return replace(head, rungs=[*head.rungs, *(one.rung for one in tried)], reference=head.rungs[0].score)


def _keeps_up(head: Candidate, reference: float | None) -> bool:
    score = head.rungs[0].score
    return score is None or reference is None or score >= reference - BEHIND


def _referred(head: Candidate, reference: float | None) -> Candidate:
    """The head alone; what the features were last good for stays what it was, or is now seen for the first time."""
    return replace(head, reference=head.rungs[0].score if reference is None else reference)


def _try_rungs(lesson: Lesson, selections: list[Selection], *, first: bool) -> Generator[Event, None, list[_Try]]:
    """The head alone and the rungs, trained on some rows and tried on a fifth of them; the last one is the best.

    The first rows need only not speak against tuned features, since these are for all the classes to come. Later, when
    other features cost a pass over every row so far, a rung has to win by two standard errors.
    """
    memory = _remembered(lesson)
    order = torch.randperm(len(lesson.rows), generator=torch.Generator().manual_seed(lesson.config.train.seed))
    few = min(max(len(order) // TRIED, 1), TUNED_ROWS)
    held, learned = (lesson.part(places.sort().values) for places in (order[:few], order[few : few + TUNED_ROWS]))
    alone = _try_head(learned, held)
    tried = [alone]
    for selection in selections:
        tuned = yield from _try_suffix(learned, held, memory, selection)
        gains = tuned.right.double() - alone.right.double()
        error = float(gains.std(correction=0)) / len(gains) ** 0.5
        tried.append(tuned)
        if float(gains.mean()) > 2 * error or (first and float(gains.mean()) >= -error):
            return tried
    return [*tried[1:], alone]


def _with_cache(lesson: Lesson, longest: Selection) -> Lesson:
    encoding = lesson.encoding
    if encoding.cache is not None:
        return lesson
    cache = ActivationCache(encoding.starter, backbone_names(longest, encoding.starter, first=False))  # type: ignore[arg-type]
    return replace(lesson, encoding=replace(encoding, cache=cache))


def _try_head(learned: Lesson, held: Lesson) -> _Try:
    began = time.process_time()
    model = learned.fork(["head.weight", "head.bias"])
    solve_head(learned, model, learned.statistics)
    right = head_logits(model, held.features).argmax(dim=1) == held.targets
    selection = parse_selection(f"head@{RIDGE}")
    return _Try(selection, model, right, _rung(selection, right, began))


def _try_suffix(learned: Lesson, held: Lesson, memory: Lesson, selection: Selection) -> Generator[Event, None, _Try]:
    """Tune the last blocks and solve a head on what they make of new and remembered rows."""
    began = time.process_time()
    tuned = yield from _tune(learned, memory, selection)
    features = [_features(tuned, part) for part in (learned, held, memory)]
    model = _with_head(learned, tuned, torch.cat(features[1:]))
    if not learned.champion.task.labels:
        choose_hyperparameters(model.head, features[1], held.targets, held.weights, learned.config.train.ridge)
    statistics = add_rows(no_rows(), model.head, features[2], memory.targets, memory.weights)
    solve_head(replace(learned, features=features[0]), model, statistics)
    right = head_logits(model, features[1]).argmax(dim=1) == held.targets
    return _Try(selection, model, right, _rung(selection, right, began))


def _rung(selection: Selection, right: torch.Tensor, began: float) -> Rung:
    return Rung(str(selection), float(right.double().mean()), time.process_time() - began)


def _remembered(lesson: Lesson) -> Lesson:
    """Replayed rows as a lesson, with the champion's features."""
    memory = replace(
        lesson,
        rows=lesson.replay,
        targets=torch.from_numpy(lesson.task.encode([row.target for row in lesson.replay])),
        weights=torch.tensor([row.weight for row in lesson.replay], dtype=torch.float64),
    )
    starter: Model = lesson.encoding.starter  # type: ignore[assignment]
    return replace(memory, features=_features(starter, memory))


def _features(model: Model, lesson: Lesson) -> torch.Tensor:
    """What a fork makes of the lesson's rows."""
    assert lesson.encoding.cache is not None
    if not lesson.rows:
        return lesson.features[:0]
    return features_from(model, [row.inputs for row in lesson.rows], lesson.encoding.cache)


def _tune(lesson: Lesson, memory: Lesson, selection: Selection) -> Generator[Event, None, Model]:
    """A fork whose last blocks have learned to draw the rows of a class together, new and remembered ones."""
    names = backbone_names(selection, lesson.encoding.starter, first=False)
    model: Model = fork(lesson.encoding.starter, names)  # type: ignore[assignment]
    targets = torch.cat([lesson.targets, memory.targets])
    model.head = Prototypes(torch.cat([lesson.features, memory.features]), targets, len(lesson.task.labels))
    rows = Rows(
        inputs=[row.inputs for row in [*lesson.rows, *memory.rows]],
        targets=targets,
        weights=torch.cat([lesson.weights, memory.weights]),
    )
    module: nn.Module = model  # type: ignore[assignment]
    moving = [*names, "head.weight", "head.bias"]
    cache = lesson.encoding.cache
    assert cache is not None
    cache.attach(model)
    yield from run_loop(module, moving, rows, _config(lesson.config.train), str(selection), cache=cache)
    return model


def _config(train: TrainConfig) -> TrainConfig:
    """As the configuration says, but for what the ladder chooses itself."""
    return msgspec.structs.replace(
        train,
        learning_rate=SLOWER * train.learning_rate,
        step=msgspec.structs.replace(train.step, schedule="linear"),
        stop=msgspec.structs.replace(train.stop, epochs=EPOCHS),
    )


def _with_head(lesson: Lesson, tuned: Model, features: torch.Tensor) -> Model:
    """A fork with the tuned blocks, and a head whose expansion is fitted to features that they were not tuned on."""
    model = lesson.fork(["head.weight", "head.bias"])
    model.backbone = tuned.backbone
    model.head.refit(features)
    return model


def _finish(attempt: Attempt, lesson: Lesson, best: _Try, tried: list[Rung]) -> Generator[Event, None, Candidate]:
    """The rung that won, with its head solved over every row so far."""
    began = time.process_time()
    model = best.model
    features = _features(model, lesson)
    statistics, _ = solve_head(replace(lesson, features=features), model, _rebuilt(attempt, lesson, model))
    check_finite(model)
    spent = time.process_time() - began + sum(rung.cpu_seconds for rung in tried)
    yield Trained(str(best.selection), spent)
    return Candidate(
        model=model,
        task=lesson.task,
        selection=best.selection,
        statistics=statistics,
        rungs=tried,
        parameters=count_parameters(model, best.selection.parameters(lesson.encoding.starter)),
        trained=len(lesson.rows),
        replayed=len(lesson.replay),
        reference=best.rung.score,
    )


def _rebuilt(attempt: Attempt, lesson: Lesson, model: Model) -> Statistics:
    """Statistics of every row that the champion was trained on, under new features, from the ledger."""
    if not lesson.champion.task.labels:
        return no_rows()
    state = replace(attempt.start.state, statistics={})
    return statistics_of(attempt.repository, state, model, lesson.champion.task, without=attempt.batch.corrected())
