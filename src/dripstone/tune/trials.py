"""A trial: settings under which a candidate is trained and tried, and by how much it leads the project's own."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from dripstone.core.config import Config
from dripstone.core.errors import DataError, DivergedError, ModelError, UsageError
from dripstone.core.events import Event
from dripstone.core.tuned import SettingsTrial, is_higher_better
from dripstone.store.repository import Repository
from dripstone.tune.space import Space, split_settings
from dripstone.tune.study import Losses, Study
from dripstone.update.champion import Champion
from dripstone.update.settings_trial import Ground, Outcome, prepare, try_settings
from dripstone.update.tried_rows import Parts


class Lead(NamedTuple):
    """By how much a mean loss is below another one of the same rows, and the standard error of that."""

    lead: float
    error: float


@dataclass(slots=True, eq=False)
class Bench:
    """Where trials are made: parts of the rows, and the roots by their activation, or the one model there is."""

    repository: Repository
    config: Config
    space: Space
    parts: Parts
    models: Mapping[str, Champion]
    part: int = 0
    grounds: dict[str, Ground] = field(default_factory=dict)

    def run(self, settings: Mapping[str, Any], part: int) -> Generator[Event, None, Outcome | str]:
        """Train a candidate and try it on a part; a reason where the settings come to none."""
        if part != self.part:
            self.grounds.clear()
            self.part = part
        overrides, activation = split_settings(settings)
        name = activation or next(iter(self.models))
        try:
            if name not in self.grounds:
                rows = self.parts.trying(part)
                self.grounds[name] = yield from prepare(self.repository, self.config, self.models[name], rows)
            return (yield from try_settings(self.grounds[name], self.config.override(overrides)))
        except (DivergedError, UsageError, ModelError, DataError) as error:
            return error.message
        except torch.OutOfMemoryError:
            return "the device has too little memory"


def make_trial(bench: Bench, study: Study, settings: dict[str, Any]) -> Generator[Event, None, SettingsTrial]:
    """One trial on the first part; a setting under which no candidate comes about is pruned, with the reason."""
    number, began = len(study.finished), time.process_time()
    rate = bench.space.rate(settings)
    outcome = yield from bench.run(settings, 0)
    if isinstance(outcome, str):
        spent = time.process_time() - began
        return SettingsTrial(number, settings, "pruned", learning_rate=rate, cpu_seconds=spent, reason=outcome)
    if number == 0:
        study.keep(0, 0, Losses(outcome.losses, outcome.weights))
    own = study.kept(0, 0)
    ahead = None if own is None else lead_of(own.losses, outcome.losses, outcome.weights)
    return SettingsTrial(
        number=number,
        settings=settings,
        state="complete",
        selection=outcome.selection,
        learning_rate=rate,
        score=score_of(bench.config.task.metric, outcome.loss),
        loss=outcome.loss,
        lead=ahead.lead if ahead else None,
        error=ahead.error if ahead else None,
        cpu_seconds=outcome.cpu_seconds,
    )


def lead_of(own: np.ndarray, losses: np.ndarray, weights: np.ndarray) -> Lead:
    """The lead over the project's own settings.

    Parameters
    ----------
    own, losses : numpy.ndarray
        [rows] of the same rows.
    weights : numpy.ndarray
        [rows], of sum 1.

    Examples
    --------
    >>> lead_of(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0]), np.full(4, 0.25))
    Lead(lead=0.5, error=0.25)
    """
    gains = own - losses
    lead = float(gains @ weights)
    return Lead(lead, math.sqrt(float(np.square(gains - lead) @ np.square(weights))))


def score_of(metric: str, loss: float) -> float:
    """A mean loss as people read it."""
    if is_higher_better(metric):
        return 1.0 - loss
    return math.sqrt(loss) if metric == "squared_error" else loss


def best_of(trials: Sequence[SettingsTrial]) -> SettingsTrial | None:
    """The trial of the lowest loss, of equals the first."""
    done = [trial for trial in trials if trial.loss is not None]
    return min(done, key=lambda trial: trial.loss or 0.0, default=None)
