"""A stream of small honest updates: does mode ``steady`` stand still?

An update that is undecided leaves its rows waiting. They are fresh again with the next candidate, which has learned
from all that waits, so that its gain is the sum; its flips are those of any candidate. A refused one loses its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.gate.store import Fresh, SimulatedStore
from bench.gate.truth import answer, step
from dripstone.core.config import GateConfig

GAIN = 0.0005
FRESH = 60
TRUSTED = 500
WAITING = 2000
UPDATES = 300


@dataclass(frozen=True, slots=True)
class Stall:
    """One life: candidates ``promoted`` and ``refused``, the ``longest`` run of undecided ones, the true ``gain``."""

    promoted: int
    refused: int
    longest: int
    gain: float


def simulate(life: int, updates: int = UPDATES) -> Stall:
    """Live one life."""
    draw = np.random.default_rng([life, 1])
    store = SimulatedStore(GateConfig(), draw)
    store.trust(TRUSTED)
    start = store.accuracy
    verdicts, learned, waiting = [], 0.0, store.trusted[:0]
    for _ in range(updates):
        learned += GAIN
        change = step(store.accuracy, learned)
        new = store.fresh(change, FRESH).judged
        rows = np.concatenate([answer(waiting, change, draw), new])[-WAITING:]
        verdicts.append(store.hear(change, Fresh(rows, rows, 0)).verdict)
        waiting = rows & ~1
        if verdicts[-1] != "undecided":
            learned, waiting = 0.0, waiting[:0]
    return Stall(
        promoted=verdicts.count("promoted"),
        refused=verdicts.count("refused"),
        longest=longest_run(verdicts, "undecided"),
        gain=store.accuracy - start,
    )


def longest_run(values: list[str], value: str) -> int:
    """The most of one value in a row.

    Examples
    --------
    >>> longest_run(["a", "b", "b", "a", "b"], "b")
    2
    """
    longest = current = 0
    for found in values:
        current = current + 1 if found == value else 0
        longest = max(longest, current)
    return longest
