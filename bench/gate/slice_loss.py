"""A candidate that loses in one slice of ten and gains elsewhere, so that overall it is null: is it refused?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.gate.store import to_answers
from bench.gate.truth import cells, draw_rows, step
from dripstone.core.config import GateConfig
from dripstone.gate.judge import judge

ACCURACY = 0.8
SLICES = 10
LOSS = 0.1
LOSING_FLIPS = 0.12
"""In the slice: 11 % of the rows turn wrong, 1 % right."""

IN_SLICE = (25, 50, 75, 100, 150, 200, 300, 400)
FRESH = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """Trusted rows in the slice; ten times as many overall. ``loss`` is that of the slice."""

    rows: int
    loss: float
    trials: int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Shares of the trials."""

    setting: Setting
    refused: float
    promoted: float


def settings(trials: int) -> list[Setting]:
    """With the loss and, to see false alarms, without."""
    return [Setting(rows, loss, trials) for loss in (LOSS, 0.0) for rows in IN_SLICE]


def simulate(setting: Setting) -> Verdicts:
    """Ask the gate about such candidates, in mode ``steady``; the anchor is the champion."""
    draw = np.random.default_rng([setting.rows, round(setting.loss * 100)])
    joint = np.diag([1 - ACCURACY, ACCURACY])
    losing = step(ACCURACY, -setting.loss, LOSING_FLIPS) if setting.loss else step(ACCURACY, 0.0)
    gaining = step(ACCURACY, setting.loss / (SLICES - 1))
    odds = np.concatenate([cells(joint, change) for change in (losing, *[gaining] * (SLICES - 1))]) / SLICES
    found = [_verdict(odds, setting.rows, draw) for _ in range(setting.trials)]
    return Verdicts(setting, found.count("refused") / len(found), found.count("promoted") / len(found))


def _verdict(odds: np.ndarray, in_slice: int, draw: np.random.Generator) -> str:
    inside, outside = (part / part.sum() for part in (odds[:8], odds[8:]))
    trusted = [draw_rows(inside, in_slice, draw), draw_rows(outside, in_slice * (SLICES - 1), draw) + 8]
    rows = np.concatenate([draw_rows(odds, FRESH, draw), *trusted]).astype(np.int16)
    return judge(to_answers(rows, anchored=False, slices=SLICES), FRESH, tested=0, config=GateConfig()).verdict
