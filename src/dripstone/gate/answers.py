"""What the contestants make of some held-out rows: the candidate, the champion, and the best version so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dripstone.gate.metrics import row_gains, row_scores
from dripstone.gate.slices import Partition


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """How one version did on rows: ``right`` [rows] bool, and the ``probability`` [rows] it gave to the target.

    Where it does not know the target, it is wrong and the probability 0.
    """

    right: np.ndarray
    probability: np.ndarray

    def scores(self, metric: str) -> np.ndarray:
        """The metric by row, 0 to 1."""
        return row_scores(metric, self.right, self.probability)

    def gains(self, other: Marks, metric: str) -> np.ndarray:
        """By how much the metric is higher than another version's, by row, -1 to 1."""
        return row_gains(metric, self.scores(metric), other.scores(metric))

    def select(self, rows: np.ndarray) -> Marks:
        """The marks on some rows."""
        return Marks(self.right[rows], self.probability[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A version that the candidate is held against.

    ``known`` [rows] bool: it knows the target. ``restricted`` are the candidate's marks when it may only answer with
    labels that the rival knows, since a class that is new takes some answers from old ones, as it should.
    """

    marks: Marks
    restricted: Marks
    known: np.ndarray

    def select(self, rows: np.ndarray) -> Rival:
        """The same rival on some rows."""
        return Rival(self.marks.select(rows), self.restricted.select(rows), self.known[rows])

    def gains(self, metric: str) -> np.ndarray:
        """Gain of the restricted candidate over the rival, on the rows whose target the rival knows."""
        rows = np.flatnonzero(self.known)
        return self.restricted.select(rows).gains(self.marks.select(rows), metric)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Held-out rows, and what became of them.

    Parameters
    ----------
    candidate : Marks
        Over all the labels that it knows.
    confidence : numpy.ndarray
        [rows] probability of the candidate's answer.
    intruding : numpy.ndarray
        [rows] bool: the candidate's answer is a label that the champion does not know.
    champion : Rival
        The live version.
    anchor : Rival or None
        The best version so far; None where that is the champion.
    partitions : sequence of Partition
        Classes and slices of the rows.
    weights : numpy.ndarray or None
        [rows] not negative; None where all rows count the same.
    """

    candidate: Marks
    confidence: np.ndarray
    intruding: np.ndarray
    champion: Rival
    anchor: Rival | None
    partitions: Sequence[Partition]
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.intruding)

    def select(self, rows: np.ndarray) -> Answers:
        """The answers on some rows."""
        return Answers(
            self.candidate.select(rows),
            self.confidence[rows],
            self.intruding[rows],
            self.champion.select(rows),
            None if self.anchor is None else self.anchor.select(rows),
            [parted.select(rows) for parted in self.partitions],
            None if self.weights is None else self.weights[rows],
        )

    def gains(self, metric: str) -> np.ndarray:
        """Gain of the candidate over the champion, [rows]; a label that only the candidate knows can be gained."""
        return self.candidate.gains(self.champion.marks, metric)

    @property
    def best(self) -> Rival:
        """The best version so far."""
        return self.champion if self.anchor is None else self.anchor

    def mean(self, values: np.ndarray) -> float | None:
        """Weighted mean of a value a row; None where there is no row of any weight."""
        if self.weights is None:
            return float(values.mean()) if len(values) else None
        total = self.weights.sum()
        return float(self.weights @ values / total) if total else None

    def counting(self) -> int:
        """How many rows have a weight."""
        return len(self) if self.weights is None else int((self.weights > 0).sum())
