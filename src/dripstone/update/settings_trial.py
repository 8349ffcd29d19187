"""A trial of settings: a candidate as an update would train it, on some of the rows, tried on the others.

What does not depend on the settings is done once: the forward pass, curation, the sums that the closed form starts
from, and what lies below the blocks that a selection moves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from dripstone.core.config import Config
from dripstone.core.errors import DivergedError
from dripstone.core.events import Event
from dripstone.core.fork import fork
from dripstone.core.protocols import Task
from dripstone.gate.metrics import LOG_LOSS_CLIP, TOKEN_LOSS, row_scores
from dripstone.select.selection import LADDER, Selection
from dripstone.store.repository import Repository
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.features import features_of, outputs_of
from dripstone.train.statistics import Statistics
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import Candidate
from dripstone.update.champion import Champion
from dripstone.update.curation import curate
from dripstone.update.ladder import backbone_names
from dripstone.update.lesson import Encoding, encode_batch, make_lesson
from dripstone.update.selecting import choose_selection
from dripstone.update.training import is_solved, statistics_so_far, train
from dripstone.update.tried_rows import TriedRows, copied, user_weights


class Outcome(NamedTuple):
    """How a trial did: ``losses`` [tried rows] and what each counts, [tried rows], of sum 1; and what was trained."""

    losses: np.ndarray
    weights: np.ndarray
    selection: str
    cpu_seconds: float

    @property
    def loss(self) -> float:
        """The weighted mean."""
        return float(self.losses @ self.weights)


@dataclass(slots=True, eq=False)
class Ground:
    """What the trials of one model have in common. Make one with `prepare`."""

    repository: Repository
    champion: Champion
    rows: TriedRows
    encoding: Encoding
    statistics: Statistics | None = None
    encodings: dict[tuple[str, ...], Encoding] = field(default_factory=dict)

    def encoding_for(self, selection: Selection) -> Encoding:
        """The same features, and a cache of what lies below the blocks that the selection moves, if it moves any."""
        module: nn.Module = self.encoding.starter
        names = backbone_names(selection, module, first=not self.champion.task.labels)
        if not names or self.champion.task.texts:
            return self.encoding
        if tuple(names) not in self.encodings:
            starter = fork(module, names)
            cache = ActivationCache(starter, names)  # type: ignore[arg-type]
            self.encodings[tuple(names)] = replace(self.encoding, starter=starter, cache=cache)
        return self.encodings[tuple(names)]


def prepare(
    repository: Repository, config: Config, champion: Champion, rows: TriedRows
) -> Generator[Event, None, Ground]:
    """The one forward pass over the rows, and their curation; yields progress."""
    rows = replace(rows, batch=copied(rows.batch))
    encoding = yield from encode_batch(champion, rows.batch)
    yield from curate(champion, rows.batch, encoding, config, rows.start.state)
    return Ground(repository, champion, rows, encoding)


def try_settings(ground: Ground, config: Config) -> Generator[Event, None, Outcome]:
    """Train a candidate under the settings, and try it; yields progress.

    Raises
    ------
    UsageError
        If the settings ask for what this model or the rest of them cannot give.
    DivergedError
        If training, or the answers to the tried rows, are no longer finite.
    """
    began = time.process_time()
    champion, batch, start = ground.champion, ground.rows.batch, ground.rows.start
    selection = choose_selection(config, champion)
    encoding = ground.encoding_for(selection)
    attempt = Attempt(ground.repository, config, champion, selection, batch, encoding, start)
    solved = is_solved(champion, start.state, selection)
    if solved and ground.statistics is None:
        ground.statistics = statistics_so_far(attempt)
    lesson = make_lesson(
        champion,
        encoding,
        batch,
        replay=ground.rows.replay,
        statistics=ground.statistics if solved else None,
        config=config,
        carried=start.state.optimizer,
        turn=start.number,
    )
    candidate = yield from train(attempt, lesson)
    losses, weights = _losses(ground, candidate, config.task.metric)
    losses = np.where(weights > 0, losses, 0.0)
    if not np.isfinite(losses).all():
        raise DivergedError("an answer to a tried row is not finite", remedy="lower train.learning_rate")
    return Outcome(losses, weights, _named(selection, candidate), time.process_time() - began)


def _named(selection: Selection, candidate: Candidate) -> str:
    ladder = f"{LADDER}: " if selection.name == LADDER else ""
    return f"{ladder}{candidate.selection}"


def _losses(ground: Ground, candidate: Candidate, metric: str) -> tuple[np.ndarray, np.ndarray]:
    batch = ground.rows.batch
    tried = batch.fresh()
    if candidate.keeps_features:
        features = ground.encoding.of(batch.places(held_out=True))
    else:
        features = features_of(candidate.model, [row.content for row in tried])
    outputs = outputs_of(candidate.model, features)
    task = candidate.task.of(candidate.model)
    weights = user_weights(tried).numpy()
    if metric == TOKEN_LOSS:
        weights = weights * outputs[:, 0].double().numpy()
        weights = weights / max(float(weights.sum()), np.finfo(np.float64).tiny)
    return row_losses(task, metric, outputs, task.encode([row.target for row in tried])), weights


def row_losses(task: Task, metric: str, outputs: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """What the search makes small, of each row, [rows] float64.

    Parameters
    ----------
    task : Task
        Of the candidate.
    metric : str
        ``"accuracy"``: 1 for a wrong answer. ``"log_loss"``: nats, at most as many as the gate counts.
        ``"squared_error"``; ``"token_loss"``: the mean of a text's tokens, in nats.
    outputs : torch.Tensor
        [rows, outputs] of its model.
    targets : numpy.ndarray
        [rows], encoded.

    Examples
    --------
    >>> from dripstone.tasks.classification import Classification
    >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> row_losses(Classification(("a", "b")), "accuracy", logits, np.array([0, 1]))
    array([0., 1.])
    >>> row_losses(Classification(("a", "b")), "log_loss", logits, np.array([0, 1])).round(2)
    array([0.13, 2.13])
    """
    if metric == TOKEN_LOSS:
        return outputs[:, 1].double().numpy()
    marked = task.mark(outputs, targets)
    if metric == "squared_error":
        return np.where(marked.kept[:, 0] > 0, np.square(marked.kept[:, 1].astype(np.float64)), math.inf)
    scores = row_scores(metric, marked.right, marked.probability)
    return (1.0 - scores.astype(np.float64)) * (LOG_LOSS_CLIP if metric == "log_loss" else 1.0)
