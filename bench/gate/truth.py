"""The true distribution of rows, over which versions have a row right; nothing here is estimated.

A row is a small number: three bits (anchor right, live right, candidate right) and the slice above them. A candidate
turns some right answers of the live version wrong and some wrong ones right, as a Markov step: the share of rows that
flip is given, and so is the net gain.
"""

from __future__ import annotations

import numpy as np

FLIPS = 0.04
START = 0.5
"""True accuracy of the first version. Low, so that forty gains of a point fit in."""

HARMFUL, NULL, GOOD = -0.005, 0.0, 0.01

CANDIDATE, LIVE, ANCHOR, SLICE = 0, 1, 2, 3
"""Bits of a row; the slice takes all bits from the third on."""

AGREEING = (0, 7)


def stream(number: int, draw: np.random.Generator) -> np.ndarray:
    """Gains of a life's candidates in random order: half harmful, 30 % null, the rest good.

    Examples
    --------
    >>> sorted(stream(10, np.random.default_rng(0)).tolist())
    [-0.005, -0.005, -0.005, -0.005, -0.005, 0.0, 0.0, 0.0, 0.01, 0.01]
    """
    gains = np.full(number, GOOD)
    gains[: number // 2] = HARMFUL
    gains[number // 2 : number // 2 + 3 * number // 10] = NULL
    return draw.permutation(gains)


def step(accuracy: float, gain: float, flips: float = FLIPS) -> np.ndarray:
    """[live right, candidate right]: chance of each answer of the candidate, given that of the live version.

    Parameters
    ----------
    accuracy : float
        True accuracy of the live version.
    gain : float
        True accuracy of the candidate less that.
    flips : float
        Share of rows on which the two differ in being right.

    Examples
    --------
    >>> step(0.5, 0.01, flips=0.03)
    array([[0.96, 0.04],
           [0.02, 0.98]])
    """
    lost, won = (flips - gain) / 2 / accuracy, (flips + gain) / 2 / (1 - accuracy)
    return np.array([[1 - won, won], [lost, 1 - lost]])


def cells(joint: np.ndarray, change: np.ndarray) -> np.ndarray:
    """[8] probability of each kind of row, from ``joint`` [anchor right, live right] and a step."""
    return (joint[:, :, None] * change[None]).ravel()


def draw_rows(probabilities: np.ndarray, number: int, draw: np.random.Generator) -> np.ndarray:
    """[number] rows in random order; ``probabilities`` [8 * slices]."""
    return _shuffled(draw.multinomial(number, probabilities), draw)


def draw_disputed(probabilities: np.ndarray, number: int, draw: np.random.Generator) -> np.ndarray:
    """What `draw_rows` gives, without the rows on which anchor, live version and candidate agree."""
    counts = draw.multinomial(number, probabilities)
    for cell in AGREEING:
        counts[cell::8] = 0
    return _shuffled(counts, draw)


def disputed(rows: np.ndarray) -> np.ndarray:
    """The rows on which not all three agree, in their order."""
    return rows[~np.isin(rows & 7, AGREEING)]


def answer(rows: np.ndarray, change: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The same rows with the answers of a new candidate, which depend on those of the live version."""
    live = right(rows, LIVE)
    found = draw.random(len(rows)) < change[live.astype(np.intp), 1]
    return (rows & ~1) | found.astype(rows.dtype)


def right(rows: np.ndarray, who: int) -> np.ndarray:
    """[rows] bool: whether the version of that bit has the row right."""
    return (rows >> who & 1).astype(bool)


def _shuffled(counts: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return draw.permutation(np.repeat(np.arange(len(counts), dtype=np.int16), counts))
