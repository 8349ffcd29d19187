"""Candidates without effect, judged by the same rows again and again: what is claimed, and what the rows would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.gate.store import SimulatedStore
from bench.gate.truth import LIVE, answer, right, step
from dripstone.core.config import GateConfig

ROWS = 2000
GATES = ("steady", "accuracy >=")


@dataclass(frozen=True, slots=True)
class Setting:
    """A life of null ``candidates``; ``fresh`` rows come with each."""

    gate: str
    fresh: int
    life: int
    candidates: int = 500


@dataclass(frozen=True, slots=True)
class Reuse:
    """What is said of a life whose true gain is 0.

    claimed : the lower bounds of proven gains, summed (of the peer: the gains it measured). inflation : accuracy of the
    live version on its trusted rows, less the true one. fresh : that of the promoted candidates on their fresh rows,
    less the true one; None without such rows.
    """

    setting: Setting
    promoted: int
    claimed: float
    inflation: float
    fresh: float | None


def simulate(setting: Setting) -> Reuse:
    """Live one life. All true changes are 0."""
    seed = [setting.life, GATES.index(setting.gate), setting.fresh]
    store = SimulatedStore(GateConfig(), np.random.default_rng(seed))
    store.trust(ROWS)
    hear = _claim if setting.gate == "steady" else _not_worse
    heard = [hear(store, setting.fresh) for _ in range(setting.candidates)]
    promoted = [report for report in heard if report is not None]
    seen = [report.fresh for report in promoted if report.fresh is not None]
    return Reuse(
        setting,
        promoted=len(promoted),
        claimed=sum(report.claim for report in promoted),
        inflation=store.measured() - store.accuracy,
        fresh=float(np.mean(seen)) - store.accuracy if seen else None,
    )


@dataclass(frozen=True, slots=True)
class _Report:
    """What is said of one promotion: the gain that is claimed, and the accuracy on fresh rows."""

    claim: float
    fresh: float | None


def _claim(store: SimulatedStore, fresh: int) -> _Report | None:
    change = step(store.accuracy, 0.0)
    judgement = store.hear(change, store.fresh(change, fresh))
    if judgement.verdict != "promoted":
        return None
    return _Report(judgement.evidence.gain_at_least, judgement.metrics.candidate.fresh_accuracy)


def _not_worse(store: SimulatedStore, fresh: int) -> _Report | None:
    """A peer with the same rows; it claims what they show."""
    change = step(store.accuracy, 0.0)
    new = store.fresh(change, fresh).judged
    rows = np.concatenate([answer(store.trusted, change, store.draw), new])
    gain = float((rows & 1).mean() - right(rows, LIVE).mean())
    if gain < 0:
        return None
    store.promote(change, rows, new_best=True)
    return _Report(gain, float((new & 1).mean()) if len(new) else None)
