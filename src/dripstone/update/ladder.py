"""The ladder: the head in closed form where the features keep up, and the last blocks where they do not.

The features are looked at on the first rows, where there are enough, and again when there are five times as many labels
as then. In between the closed form's leave-one-out score of the new rows is watched, at no cost; where it falls behind
what the features were last good for, they are looked at as well. A look tunes the last blocks on some rows and tries
them on others, beside the head alone. Tuned to many labels, features serve those to come, too; tuned to a few, they may
serve them worse than before, and therefore have to show first what they are good for. A rung that wins gives the
features; the head is then solved in closed form over every row so far, from the ledger.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from dripstone.core.events import Event, Rebuilt, Trained
from dripstone.core.low_rank import Factors
from dripstone.core.parts import HEAD, Chosen
from dripstone.core.protocols import Model
from dripstone.core.records import Look, Rung
from dripstone.select.ladder import choose_rung, rungs
from dripstone.select.selection import LADDER, RIDGE, Selection, parse_selection
from dripstone.select.share import Draw
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import features_from
from dripstone.train.features import features_of, outputs_of
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.importance import importance
from dripstone.train.rows import Rows
from dripstone.train.statistics import no_rows
from dripstone.train.tuning import tune, with_prototypes
from dripstone.update.attempt import Attempt
from dripstone.update.batch import Batch
from dripstone.update.candidate import Candidate, count_parameters, solve_head, train_candidate
from dripstone.update.champion import Champion
from dripstone.update.lesson import Lesson, training_weights
from dripstone.update.solve_anew import old_rows, solve_anew

FIRST_ROWS = 200
"""Training rows from which on the first ones tune the features."""

BEHIND = 0.1
"""By how much the score of new rows may fall below what the features were last good for."""

WIDER = 5
"""By how many times as many labels the features are looked at again: so often that it costs a few passes in a life."""

MANY_LABELS = 30
"""Labels from which on features that are tuned to them are better for others, too."""

TRIED = 5
"""One row in so many is tried, not learned, when rungs are compared."""

TUNED_ROWS = 1000
"""New and remembered rows on which blocks are tuned at most: what a look costs does not depend on what came."""


def backbone_names(selection: Selection, model: nn.Module, *, first: bool) -> list[str]:
    """Names of the blocks' parameters that an update may move, as far as that is known before it has seen its rows.

    None for selections that leave nothing below them that could be cached; ``first`` says that the model has no labels.
    """
    suffixes = [selection]
    if selection.name == LADDER:
        suffixes = [parse_selection(rung) for rung in rungs(model, RIDGE, "adamw", selection.rungs)] if first else []
    suffixes = [one for one in suffixes if one.name == "suffix"]
    if not suffixes:
        return []
    longest = max(suffixes, key=lambda one: one.argument or 0)
    return [name for name in longest.parameters(model) if name.startswith("backbone.")]


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """A rung that was trained on some of the rows, and which of the others it has right, [rows] bool.

    ``chosen`` is what it has moved of the backbone, ``factors`` are the products that it has added there.
    """

    selection: Selection
    model: Model
    right: torch.Tensor
    rung: Rung
    chosen: Chosen
    factors: dict[str, Factors] = field(default_factory=dict)


def climb(attempt: Attempt, lesson: Lesson) -> Generator[Event, None, Candidate]:
    """Train the rung that this update needs; yields progress.

    Parameters
    ----------
    attempt : Attempt
        Where the ledger is that the statistics are rebuilt from.
    lesson : Lesson
        With statistics.
    """
    look = attempt.start.state.look
    optimizer, asked = lesson.config.train.optimizer, attempt.selection.rungs
    lowest, *higher = map(parse_selection, rungs(lesson.encoding.starter, RIDGE, optimizer, asked))
    if lesson.task.numbers:
        higher = []  # blocks are tuned by drawing the rows of a label together
    due = bool(higher) and (_is_due(lesson, look) or _errs_more(attempt, lesson))
    head = None if due else (yield from train_candidate(lesson, lowest))
    if head and (not higher or _keeps_up(head, look)):
        return replace(head, look=look or _look(head.rungs[0], lesson))
    lesson = _with_cache(lesson, higher)
    tried = yield from _try_rungs(lesson, higher[-1:] if due else higher, trusting=due and _are_many(lesson))
    best = tried[-1]
    if best.selection.name != "head":
        return (yield from _finish(attempt, lesson, best, [one.rung for one in tried]))
    head = head or (yield from train_candidate(lesson, lowest))
    return replace(head, rungs=[*head.rungs, *(one.rung for one in tried[:-1])], look=_look(head.rungs[0], lesson))


def _is_due(lesson: Lesson, look: Look | None) -> bool:
    """Whether it is time to look, however well the features serve: there are rows and labels enough for the first time,
    or many more labels than when it was last done, and rows of the old ones are at hand."""
    labels = len(lesson.task.labels)
    if not lesson.champion.task.labels:
        return labels > 1 and len(lesson.rows) >= FIRST_ROWS
    return look is not None and labels >= WIDER * look.labels and bool(lesson.replay)


def _errs_more(attempt: Attempt, lesson: Lesson) -> bool:
    """Whether the live version's error has risen, where the policy watches for that, and there are rows to look at."""
    watched = attempt.start.watched
    return watched is not None and watched.drift.errors and bool(lesson.replay)


def tunes_first(selection: Selection, champion: Champion, batch: Batch) -> bool:
    """Whether the blocks will move in any case that is likely, so that nobody needs the features that they make now."""
    if selection.name != LADDER or champion.task.labels or champion.task.numbers:
        return False
    rows = batch.training()
    return len(rows) >= FIRST_ROWS and len({row.target for row in rows}) >= MANY_LABELS


def _are_many(lesson: Lesson) -> bool:
    return len(lesson.task.labels) >= MANY_LABELS


def _keeps_up(head: Candidate, look: Look | None) -> bool:
    score = head.rungs[0].score
    return score is None or look is None or score >= look.score - BEHIND


def _look(rung: Rung, lesson: Lesson) -> Look | None:
    return None if rung.score is None else Look(rung.score, len(lesson.task.labels))


def _try_rungs(lesson: Lesson, selections: list[Selection], *, trusting: bool) -> Generator[Event, None, list[_Try]]:
    """The head alone and the rungs, trained on some rows and tried on a fifth of them; the last one is the best.

    Tuned features that are trusted to serve the classes to come need only not do worse. Otherwise a rung has to win by
    two standard errors; where it could not if it had every row right, none is tuned.
    """
    learned, held = _rows_to_try(lesson)
    alone = _try_head(learned, held)
    tried = [alone]
    for selection in selections if trusting or _wins(~alone.right, by=2.0) else []:
        tuned = yield from _try_tuned(learned, held, selection)
        tried.append(tuned)
        if _wins(tuned.right.double() - alone.right.double(), by=-1.0 if trusting else 2.0):
            return tried
    return [*tried[1:], alone]


def _wins(gains: torch.Tensor, by: float) -> bool:
    """Whether the mean of [rows] gains lies by so many standard errors above 0, or not so far below it."""
    gains = gains.double()
    margin = by * float(gains.std(correction=0)) / len(gains) ** 0.5
    return float(gains.mean()) > margin if by > 0 else float(gains.mean()) >= margin


def _rows_to_try(lesson: Lesson) -> tuple[Lesson, Lesson]:
    """New and remembered rows that are learned, and those that are tried: as many of each class as there are."""
    remembered = torch.from_numpy(lesson.task.encode([row.target for row in lesson.replay]))
    everything = replace(
        lesson,
        rows=[*lesson.rows, *lesson.replay],
        known=None,
        targets=torch.cat([lesson.targets, remembered]),
        weights=torch.cat([lesson.weights, training_weights(lesson.replay)]),
    )
    chosen = evenly(everything.targets, TUNED_ROWS * TRIED // (TRIED - 1), lesson.config.train.seed)
    held = (torch.arange(len(chosen)) % TRIED == 0)[chosen.argsort()]
    chosen = chosen.sort().values
    new, old = chosen[chosen < len(lesson.rows)], chosen[chosen >= len(lesson.rows)]
    parts = [part.features for part in (lesson.part(new), everything.part(old)) if part.rows]
    drawn = replace(everything.part(chosen), known=torch.cat(parts))
    return drawn.part(torch.nonzero(~held).flatten()), drawn.part(torch.nonzero(held).flatten())


def evenly(targets: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Places of at most ``count`` rows, drawn so that classes have as many as each other while their rows last.

    Examples
    --------
    >>> targets = torch.tensor([0, 0, 0, 0, 1, 2])
    >>> sorted(targets[evenly(targets, 4, seed=0)].tolist())
    [0, 0, 1, 2]
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    drawn: Counter[int] = Counter()
    ranks = []
    for target in targets[order].tolist():
        ranks.append(drawn[target])
        drawn[target] += 1
    return order[torch.tensor(ranks, dtype=torch.int64).argsort(stable=True)[:count]]


def _with_cache(lesson: Lesson, higher: list[Selection]) -> Lesson:
    """The lesson with a cache of what lies below the longest suffix, where there is one among the rungs."""
    encoding = lesson.encoding
    suffixes = [rung for rung in higher if rung.name == "suffix"]
    if encoding.cache is not None or not suffixes:
        return lesson
    longest = max(suffixes, key=lambda rung: rung.argument or 0)
    cache = ActivationCache(encoding.starter, backbone_names(longest, encoding.starter, first=False))  # type: ignore[arg-type]
    return replace(lesson, encoding=replace(encoding, cache=cache))


def _try_head(learned: Lesson, held: Lesson) -> _Try:
    began = time.process_time()
    model = learned.fork(HEAD)
    solve_head(learned, model, no_rows())
    right = outputs_of(model, held.features).argmax(dim=1) == held.targets
    selection = parse_selection(f"head@{RIDGE}")
    return _Try(selection, model, right, _rung(selection, right, began), Chosen([]))


def _try_tuned(learned: Lesson, held: Lesson, selection: Selection) -> Generator[Event, None, _Try]:
    """Tune part of the backbone and solve a head on what it makes of the rows."""
    began = time.process_time()
    tuned, chosen, factors = yield from _tune(learned, selection)
    features = [_features(tuned, selection, part) for part in (learned, held)]
    model = _with_head(learned, tuned, features[1])
    if not learned.champion.task.labels:
        choose_hyperparameters(model.head, features[1], held.targets, held.weights, learned.config.train.ridge)
    solve_head(replace(learned, known=features[0]), model, no_rows())
    right = outputs_of(model, features[1]).argmax(dim=1) == held.targets
    return _Try(selection, model, right, _rung(selection, right, began), chosen, factors)


def _rung(selection: Selection, right: torch.Tensor, began: float) -> Rung:
    return Rung(str(selection), float(right.double().mean()), time.process_time() - began)


def _features(model: Model, selection: Selection, lesson: Lesson) -> torch.Tensor:
    """What a fork makes of the lesson's rows, from the cache where that lies below all that has moved."""
    inputs, cache = [row.inputs for row in lesson.rows], lesson.encoding.cache
    if selection.name != "suffix" or cache is None:
        return features_of(model, inputs)
    return features_from(model, inputs, cache)


def _tune(lesson: Lesson, selection: Selection) -> Generator[Event, None, tuple[Model, Chosen, dict[str, Factors]]]:
    starter: Model = lesson.encoding.starter  # type: ignore[assignment]
    rows = Rows(inputs=[row.inputs for row in lesson.rows], targets=lesson.targets, weights=lesson.weights)
    model = with_prototypes(starter, rows, lesson.features, len(lesson.task.labels))
    scores = {} if selection.scores is None else importance(model, rows, selection.scores)
    draw = Draw(scores, np.random.default_rng([lesson.config.train.seed, lesson.turn]), lesson.turn)
    chosen = choose_rung(selection, model, draw)
    cache = lesson.encoding.cache if selection.name == "suffix" else None
    rank = int(selection.argument or 0) if selection.name == "low_rank" else None
    tuned, factors = yield from tune(model, chosen, rows, lesson.config.train, cache, rank=rank)
    return tuned, chosen, factors


def _with_head(lesson: Lesson, tuned: Model, features: torch.Tensor) -> Model:
    """A fork with the tuned blocks, and a head whose expansion is fitted to features that they were not tuned on."""
    model = lesson.fork(HEAD)
    model.backbone = tuned.backbone
    model.head.refit(features)
    return model


def _finish(attempt: Attempt, lesson: Lesson, best: _Try, tried: list[Rung]) -> Generator[Event, None, Candidate]:
    """The rung that won, with its head solved over every row so far."""
    began = time.process_time()
    old = old_rows(attempt, lesson)
    lesson = replace(lesson, known=_features(best.model, best.selection, lesson))
    anew = solve_anew(lesson, best.model, best.selection, old)
    yield Trained(str(best.selection), time.process_time() - began + sum(rung.cpu_seconds for rung in tried))
    yield Rebuilt(len(old) + len(lesson.rows))
    moved = Chosen([*best.chosen.names, *HEAD], best.chosen.parts)
    return replace(
        anew,
        rungs=tried,
        replayed=len(lesson.replay),
        look=_look(best.rung, lesson),
        parameters=count_parameters(best.model, moved, best.factors),
        factors=best.factors,
    )
