"""Answers of made-up contestants that the tests of the gate share."""

from __future__ import annotations

import numpy as np

from dripstone.gate.answers import Answers, Marks, Rival
from dripstone.gate.slices import part_rows


def marks(right: np.ndarray, sure: float = 0.9, unsure: float = 0.1) -> Marks:
    """A version that is sure of what it has right."""
    return Marks(right, np.where(right, sure, unsure))


def spread(rows: int, wins: int = 0, losses: int = 0, wrong: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Champion and candidate, right or not: wins and losses spread over each other, the last ``wrong`` rows wrong."""
    flips = sorted(
        [((i + 1) / (wins + 1), 1) for i in range(wins)] + [((i + 1) / (losses + 1), -1) for i in range(losses)]
    )
    signs = np.array([sign for _, sign in flips] + [0] * (rows - len(flips)))
    both = np.arange(rows) < rows - wrong
    return both & (signs <= 0), both & (signs >= 0)


def hearing(
    champion: np.ndarray,
    candidate: np.ndarray,
    *,
    restricted: np.ndarray | None = None,
    known: np.ndarray | None = None,
    anchor: np.ndarray | None = None,
    classes: list | None = None,
    slices: list | None = None,
    weights: np.ndarray | None = None,
    intruding: np.ndarray | None = None,
) -> Answers:
    """Answers from who is right where; all labels are known to all, but for what is said."""
    rows = len(champion)
    known = np.ones(rows, bool) if known is None else known
    mine = marks(candidate)
    allowed = mine if restricted is None else marks(restricted)
    return Answers(
        candidate=mine,
        confidence=np.where(candidate, 0.9, 0.6),
        intruding=np.zeros(rows, bool) if intruding is None else intruding,
        champion=Rival(marks(champion), allowed, known),
        anchor=None if anchor is None else Rival(marks(anchor), allowed, known),
        partitions=[
            part_rows("class", ["yes"] * rows if classes is None else classes),
            part_rows("slice", [None] * rows if slices is None else slices),
        ],
        weights=weights,
    )
