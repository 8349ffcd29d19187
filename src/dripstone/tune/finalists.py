"""The finalists: the best few trials, made again with each of the other parts of the rows tried.

The best of twenty scores is a good one by chance. On rows that it was not chosen by it is what it is, and there are
four times as many of them. Trials that differ by a learning rate alone differ by less than these rows can tell, so that
the best one of each selection is made again.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import msgspec
import numpy as np

from dripstone.core.events import Event, TriedAgain
from dripstone.core.tuned import Again, SettingsTrial
from dripstone.tune.study import Losses, Study
from dripstone.tune.trials import Bench, lead_of, score_of

FINALISTS = 3
"""Trials that are made again at most, besides the project's own settings."""

BEYOND = 1.28
"""Standard errors by which a finalist has to lead on rows that it was not chosen by: one in ten that is no better does
so by chance. A single row is no lead."""

NOTHING = Losses(np.empty(0), np.empty(0))


def try_again(bench: Bench, study: Study, deadline: float | None) -> Generator[Event, None, list[SettingsTrial]]:
    """All trials, the finalists with what came of them; yields progress.

    Parameters
    ----------
    bench : Bench
        Where trials are made.
    study : Study
        What is finished of this is read from it, and kept in it.
    deadline : float, optional
        Of ``time.monotonic()``, from which on no further part is tried.
    """
    finalists = [study.finished[0], *_finalists(study.finished)]
    parts = []
    for part in range(1, bench.parts.count) if len(finalists) > 1 and finalists[0].loss is not None else ():
        if deadline is not None and time.monotonic() >= deadline:
            break
        for trial in finalists:
            if study.kept(trial.number, part) is None:
                outcome = yield from bench.run(trial.settings, part)
                kept = NOTHING if isinstance(outcome, str) else Losses(outcome.losses, outcome.weights)
                study.keep(trial.number, part, kept)
                yield TriedAgain(trial.number, part, bench.parts.count)
        parts.append(part)
    found = {trial.number: _joined(bench, study, trial, parts) for trial in finalists if parts}
    return [msgspec.structs.replace(trial, again=found.get(trial.number)) for trial in study.finished]


def _finalists(trials: Sequence[SettingsTrial]) -> list[SettingsTrial]:
    """The best trial of each selection, of those that are not behind the project's own settings beyond chance."""
    near = [trial for trial in trials[1:] if trial.loss is not None and _is_near(trial)]
    best: dict[str, SettingsTrial] = {}
    for trial in sorted(near, key=lambda trial: (trial.loss, trial.number)):
        best.setdefault(trial.selection.removeprefix("ladder: "), trial)
    return list(best.values())[:FINALISTS]


def _is_near(trial: SettingsTrial) -> bool:
    return trial.lead is None or trial.error is None or trial.lead > -trial.error


def _joined(bench: Bench, study: Study, trial: SettingsTrial, parts: Sequence[int]) -> Again | None:
    """A finalist on all parts together; None where it, or the project's own settings, came to nothing on one."""
    pairs = [(study.kept(0, part) or NOTHING, study.kept(trial.number, part) or NOTHING) for part in parts]
    if not all(len(own.losses) == len(mine.losses) > 0 for own, mine in pairs):
        return None
    rows = sum(len(mine.losses) for _, mine in pairs)
    own, losses = (np.concatenate([pair[side].losses for pair in pairs]) for side in (0, 1))
    weights = np.concatenate([mine.weights * (len(mine.losses) / rows) for _, mine in pairs])
    loss, ahead = float(losses @ weights), lead_of(own, losses, weights)
    return Again(rows, score_of(bench.config.task.metric, loss), loss, ahead.lead, ahead.error)
