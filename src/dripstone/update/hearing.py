"""The hearing: the candidate, the champion and the best version so far answer the same held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from dripstone.checkout import checkout
from dripstone.core.bits import from_raw
from dripstone.core.errors import DivergedError, StoreError
from dripstone.core.examples import Label, Target, label_of
from dripstone.core.marked import Marked
from dripstone.core.protocols import Model, Task
from dripstone.gate.answers import Answers, Marks, Rival
from dripstone.gate.slices import part_rows
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository
from dripstone.store.state import TrainingState
from dripstone.tasks.kinds import task_of
from dripstone.train.features import features_of, outputs_of
from dripstone.update import training_state
from dripstone.update.champion import Champion

HEAVIEST = 4.0
"""How many times the middle weight a row counts at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Hearing:
    """Held-out rows, ``fresh`` new ones first, then the trusted ones, with what the contestants make of them.

    ``targets`` are class indices among the candidate's ``labels``, ``marked`` its answers, ``features`` its features.
    ``champion_kept`` and ``best_kept`` [rows, 2] are those of the champion, and of the best version so far, as their
    task keeps them; ``numbers`` says that targets are numbers.
    """

    rows: list[PageRow]
    fresh: int
    targets: np.ndarray
    labels: tuple[Label, ...]
    marked: Marked
    answers: Answers
    features: torch.Tensor
    champion_kept: np.ndarray
    best_kept: np.ndarray
    numbers: bool


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A version that is heard: its module, its labels, and its features of fresh and of trusted rows."""

    model: Model
    task: Task
    fresh: torch.Tensor
    trusted: torch.Tensor


def hear(
    champion: Champion,
    candidate: Contestant,
    anchor: Contestant | None,
    state: TrainingState,
    fresh_rows: Sequence[PageRow],
    champion_features: torch.Tensor,
) -> Hearing:
    """Let them answer. What champion and anchor made of the trusted rows was kept; the rest is asked now.

    Parameters
    ----------
    champion : Champion
        The live version.
    candidate : Contestant
        As rebuilt from its stored bits.
    anchor : Contestant or None
        The best version so far, with features of the fresh rows; None where that is the champion.
    state : TrainingState
        The champion's, with the trusted rows.
    fresh_rows : sequence of PageRow
        Held-out rows of this update.
    champion_features : torch.Tensor
        [fresh, features], the champion's.

    Raises
    ------
    DivergedError
        If the candidate gives no finite number where the champion does.
    """
    rows = [*fresh_rows, *state.trusted]
    task = candidate.task.beside(champion.task)
    wanted = [row.target for row in rows]
    targets = task.encode(wanted)
    features = _joined(candidate.fresh, candidate.trusted)
    logits = outputs_of(candidate.model, features)
    marked = task.mark(logits, targets)
    mine, theirs = training_state.marks_of(state)
    kept, answered = _ask(champion.model, champion.task, champion_features, wanted, mine)
    _check_numbers(marked, answered)
    rivals = [_rival(task, kept, logits, targets, champion.task, wanted)]
    best_kept = kept
    if anchor is not None:
        best_kept, _ = _ask(anchor.model, anchor.task, anchor.fresh, wanted, theirs)
        rivals.append(_rival(task, best_kept, logits, targets, anchor.task, wanted))
    answers = Answers(
        candidate=Marks(marked.right, marked.probability),
        confidence=marked.confidence,
        intruding=marked.answers >= len(champion.task.labels),
        champion=rivals[0],
        anchor=rivals[1] if anchor is not None else None,
        partitions=[
            part_rows("class", [label_of(row.target) for row in rows]),
            part_rows("slice", [row.slice for row in rows]),
        ],
        weights=_weights(rows, len(fresh_rows)),
    )
    return Hearing(
        rows=rows,
        fresh=len(fresh_rows),
        targets=task.classes(targets),
        labels=task.labels,
        marked=marked,
        answers=answers,
        features=features,
        champion_kept=kept,
        best_kept=best_kept,
        numbers=task.numbers,
    )


def _ask(
    model: Model, task: Task, features: torch.Tensor, wanted: Sequence[Target | None], trusted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How a version does on the fresh rows, and on the trusted ones as was kept of it, [rows, 2]; where it answers."""
    fresh = task.mark(outputs_of(model, features), task.encode(wanted[: len(wanted) - len(trusted)]))
    answered = np.concatenate([fresh.answers >= 0, task.marks(trusted)[1] > 0])
    return np.concatenate([fresh.kept, trusted]), answered


def _check_numbers(candidate: Marked, answered: np.ndarray) -> None:
    """The candidate has an answer wherever the live version has one, and to some row at least."""
    lost = candidate.answers < 0
    if (answered & lost).any() or (len(lost) and lost.all()):
        raise DivergedError(
            "the candidate gives no finite number where the live version does", remedy="lower train.learning_rate"
        )


def contestant(
    model: Model, task: Task, rows: Sequence[PageRow], fresh: torch.Tensor | None, trusted: TrainingState
) -> Contestant:
    """A version with its features of fresh ``rows`` and of trusted ones.

    ``fresh`` are the champion's, where the version makes the same features of everything; its own are computed
    otherwise.
    """
    if fresh is not None:
        return Contestant(model, task, fresh, trusted_features(trusted))
    mine = [features_of(model, [row.example().content for row in part]) for part in (rows, trusted.trusted)]
    return Contestant(model, task, *mine)


def load_anchor(
    repository: Repository,
    champion: Champion,
    state: TrainingState,
    rows: Sequence[PageRow],
    champion_features: torch.Tensor,
) -> Contestant | None:
    """The best version so far, with its features of the fresh rows; None where that is the champion.

    Raises
    ------
    StoreError
        If its labels are not the first ones of the champion's, so that they have no common order.
    """
    if state.anchor == champion.version:
        return None
    manifest = repository.manifest(state.anchor)
    if champion.task.labels[: len(manifest.labels)] != tuple(manifest.labels):
        raise StoreError(
            f"the anchor {state.anchor[:12]} of version {champion.version[:12]} has labels of another line",
            remedy="run 'dripstone verify'; 'dripstone promote' with a reason pins another anchor",
            kind="store.corrupt",
        )
    parent: nn.Module = champion.model  # type: ignore[assignment]
    model = cast(Model, checkout(repository, state.anchor, (champion.version, parent)))
    task = task_of(manifest.task, manifest.labels, model)
    same = training_state.features_digest(manifest) == state.backbone
    fresh = champion_features if same else features_of(model, [row.example().content for row in rows])
    return Contestant(model, task, fresh, torch.empty(0, 0))


def trusted_features(state: TrainingState) -> torch.Tensor:
    """The champion's features of the trusted rows."""
    return torch.empty(0, 0) if state.trusted_features is None else from_raw(state.trusted_features)


def _joined(fresh: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    return torch.cat([part for part in (fresh, trusted) if len(part)] or [fresh])


def _rival(
    task: Task,
    kept: np.ndarray,
    logits: torch.Tensor,
    targets: np.ndarray,
    rival: Task,
    wanted: Sequence[Target | None],
) -> Rival:
    """A version that the candidate is held against, by its own task ``rival``; ``task`` is the candidate's."""
    restricted = task.mark(logits, targets, classes=len(rival.labels))
    known = rival.classes(rival.encode(wanted)) >= 0
    marks = Marks(*task.marks(kept))
    return Rival(marks, Marks(restricted.right, restricted.probability), known)


def _weights(rows: Sequence[PageRow], fresh: int) -> np.ndarray | None:
    """Weights in [0, 1], None where all are the same.

    The unit is four times the middle weight of the trusted rows, so that it does not depend on the rows that are to
    prove something, and a few rows of gigantic weight cannot make all others count for nothing; what weighs more counts
    as much as that.
    """
    weights = np.array([row.weight for row in rows], dtype=np.float64)
    if len(weights) == 0 or (weights[0] > 0 and (weights == weights[0]).all()):
        return None
    return np.minimum(weights / heaviest(rows[fresh:]), 1.0)


def heaviest(trusted: Sequence[PageRow]) -> float:
    """The weight from which on rows count the same."""
    positive = [row.weight for row in trusted if row.weight > 0]
    return HEAVIEST * float(np.median(positive)) if positive else 1.0
