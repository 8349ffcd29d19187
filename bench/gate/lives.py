"""Lives of many candidates, lived by the gate and by its peers, and what becomes of the live version."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.gate.peers import PEERS, decide
from bench.gate.proof import rows_to_proof
from bench.gate.store import SimulatedStore
from bench.gate.truth import FLIPS, GOOD, HARMFUL, NULL, step, stream
from dripstone.core.config import GateConfig

MODES = ("steady", "better")
GATES = (*MODES, *PEERS)
CANDIDATES = 200
DRAWDOWN = 0.015
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Job:
    """Some lives: ``gate`` is a mode or a peer, ``rows`` are the fresh ones of a candidate."""

    gate: str
    rows: int
    slices: int
    first: int
    lives: int
    candidates: int = CANDIDATES


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """[lives, candidates] each: true gains, who was promoted, and on how many differing rows."""

    gains: np.ndarray
    promoted: np.ndarray
    discordant: np.ndarray

    @staticmethod
    def join(parts: list[Lives]) -> Lives:
        """One table of several."""
        columns = zip(*((part.gains, part.promoted, part.discordant) for part in parts), strict=True)
        return Lives(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares of the good, null and harmful candidates that are promoted; shares of lives; gains as shares."""

    good: float
    null: float
    harmful: float
    any_without_gain: float
    net_positive: float
    drawdown: float
    net: float
    discordant: float

    @property
    def keeps_bound(self) -> bool:
        """The net change is positive in 99 % of lives, and 95 % are never further below their best than allowed."""
        return self.net_positive >= 0.99 and self.drawdown <= 0.05


def live(job: Job) -> Lives:
    """Live the lives of a job; each depends on its own number and the gate alone."""
    parts = [_live_one(job, number) for number in range(job.first, job.first + job.lives)]
    return Lives(*(np.array(column) for column in zip(*parts, strict=True)))


def summarize(lives: Lives) -> Summary:
    """What a gate did to its lives."""
    change = np.cumsum(np.where(lives.promoted, lives.gains, 0.0), axis=1)
    best = np.maximum.accumulate(np.maximum(change, 0.0), axis=1)
    good = lives.promoted & (lives.gains > 0)
    return Summary(
        good=float(lives.promoted[lives.gains == GOOD].mean()),
        null=float(lives.promoted[lives.gains == NULL].mean()),
        harmful=float(lives.promoted[lives.gains == HARMFUL].mean()),
        any_without_gain=float((lives.promoted & (lives.gains <= 0)).any(axis=1).mean()),
        net_positive=float((change[:, -1] > _TINY).mean()),
        drawdown=float(((best - change).max(axis=1) > DRAWDOWN + _TINY).mean()),
        net=float(change[:, -1].mean()),
        discordant=float(np.median(lives.discordant[good])) if good.any() else float("nan"),
    )


def _live_one(job: Job, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gains = stream(job.candidates, np.random.default_rng(number))
    draw = np.random.default_rng([number, GATES.index(job.gate), job.rows, job.slices])
    return (gains, *(_by_gate if job.gate in MODES else _by_peer)(job, gains, draw))


def _by_gate(job: Job, gains: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    store = SimulatedStore(GateConfig(mode=job.gate), draw, job.slices)
    store.trust(min(job.rows, store.config.trusted))
    promoted, discordant = np.zeros(len(gains), dtype=bool), np.zeros(len(gains), dtype=np.int64)
    for index, gain in enumerate(gains):
        change = step(store.accuracy, gain)
        fresh = store.fresh(change, job.rows)
        judgement = store.hear(change, fresh)
        promoted[index] = judgement.verdict == "promoted"
        discordant[index] = judgement.evidence.discordant
        if promoted[index] and job.gate == "better":
            discordant[index] = rows_to_proof(fresh.judged, judgement.evidence.threshold)
    return promoted, discordant


def _by_peer(job: Job, gains: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Wins and losses do not depend on the live version's accuracy while both kinds of rows last, so that a life is
    drawn at once."""
    odds = np.stack([(FLIPS + gains) / 2, (FLIPS - gains) / 2, np.full(len(gains), 1 - FLIPS)], axis=1)
    wins, losses, _ = draw.multinomial(job.rows, odds).T
    return decide(job.gate, wins, losses, job.rows, draw), wins + losses
