"""What of a model an update moves: chosen by the selection, once it is known what there is to learn.

The first update of a project has no gradient to choose by: its head is 0. It draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import nn

from dripstone.core.parts import HEAD, Chosen, Rotation
from dripstone.select.selection import SHARES, Selection
from dripstone.select.share import Draw
from dripstone.train.importance import importance
from dripstone.update.lesson import Lesson
from dripstone.update.loop_rows import rows_of


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """``whole`` is all that may move in the course of the update, ``first`` what moves from the first step on."""

    whole: Chosen
    first: Chosen
    rotation: Rotation | None = None

    @property
    def solves_head(self) -> bool:
        """Whether the whole output layer may move, so that the closed form may set it."""
        return set(HEAD) <= set(self.first.names) - self.first.parts.keys()


def choose(lesson: Lesson, selection: Selection) -> Choice:
    """What a candidate of this lesson moves."""
    if selection.name not in SHARES:
        chosen = selection.choose(lesson.encoding.starter)
        return Choice(chosen, chosen)
    model: nn.Module = lesson.fork([])  # type: ignore[assignment]
    scores = _scores(lesson, model, selection)
    if selection.scores and not _tell_apart(scores):
        selection = replace(selection, by="random")
    draw = Draw(
        scores=scores,
        generator=np.random.default_rng([lesson.config.train.seed, lesson.turn]),
        turn=lesson.turn,
        known=len(lesson.champion.task.labels),
    )
    if selection.every is None:
        chosen = selection.choose(model, draw)
        return Choice(chosen, chosen)
    turns = selection.turns(model, draw)
    first = next(turns)
    return Choice(Chosen(selection.parameters(model)), first, Rotation(selection.every, chain([first], turns)))


def _tell_apart(scores: Mapping[str, torch.Tensor]) -> bool:
    """Whether they tell parts of the backbone apart; an output layer that knows nothing yet passes no gradient on."""
    return any(bool(one.any()) for name, one in scores.items() if name not in HEAD)


def _scores(lesson: Lesson, model: nn.Module, selection: Selection) -> dict[str, torch.Tensor]:
    if selection.scores is None:
        return {}
    rows, _ = rows_of(lesson, model, [], head_only=False)  # type: ignore[arg-type]
    return importance(model, rows, selection.scores)
