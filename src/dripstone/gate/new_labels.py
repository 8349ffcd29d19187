"""Do new labels make sense? One that is not learned, or takes right answers of old classes, is set aside alone.

A label that is new cannot be held against the champion, which does not know it. What can be seen is whether the
candidate finds it again on its own held-out rows, and what it answers where the old answer was right: honest new
classes take a few such rows, from one class a fifth at most; old rows under a new name take half. Where an old class
has few trusted rows, that is not beyond chance; there it counts whether the champion can tell the new rows from them.

References
----------
Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dripstone.gate.sense import SIGNIFICANCE, binomial_tail

MIN_HELD_OUT = 20
LEAST_TAUGHT = 0.1
"""Share of the strange rows that were wrong which have to come right on balance."""

CLASS_SHARE = 0.1
"""Tolerated share of one class's right answers that one new label takes."""

ALIKE = 0.3
"""Rows are alike from here to as much below 1. Honest new classes lie below (`bench.likeness`), far ones above."""

MIN_OLD, MOST = 5, 256
"""Old rows that are needed, and rows of either side that are looked at."""


def likeness(old: np.ndarray, new: np.ndarray) -> float | None:
    """How often a row of a new label scores higher for an old class than a row of that class (Mann-Whitney, over n m).

    Parameters
    ----------
    old : numpy.ndarray
        [rows] the champion's scores, for a class, of trusted rows of that class which it has right.
    new : numpy.ndarray
        [rows] the same of rows of a new label.

    Returns
    -------
    float or None
        0 where every new row scores lower, 1 where every one scores higher, as rows may that are far from all classes;
        about a half where they are rows of that class. None where fewer than 20 new or 5 old rows say too little.

    Examples
    --------
    >>> likeness(np.arange(10.0), np.arange(20.0) - 20), likeness(np.arange(10.0), np.arange(20.0) / 2 - 0.25)
    (0.0, 0.5)
    """
    if len(old) < MIN_OLD or len(new) < MIN_HELD_OUT:
        return None
    gaps = new[:MOST, None] - old[None, :MOST]
    return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())


def unlearned_labels(targets: np.ndarray, right: np.ndarray, known: int) -> list[int]:
    """New classes that the candidate does not get right on half of their 20 or more held-out rows.

    Parameters
    ----------
    targets : numpy.ndarray
        [rows] class indices of fresh rows.
    right : numpy.ndarray
        [rows] bool: the candidate's answer is the target.
    known : int
        How many classes the champion knows; higher indices are new.

    Examples
    --------
    >>> unlearned_labels(np.full(20, 3), np.zeros(20, bool), known=3)
    [3]
    """
    new = np.unique(targets[targets >= known])
    return [
        int(label) for label in new if (targets == label).sum() >= MIN_HELD_OUT and right[targets == label].mean() < 0.5
    ]


def unlearned_rows(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether rows of another kind taught nothing: of those that were wrong, less than a tenth came right on balance.

    Parameters
    ----------
    before, after : numpy.ndarray
        [rows] bool: the champion and the candidate are right on held-out ones; fewer than 20 say too little.

    Examples
    --------
    >>> unlearned_rows(np.arange(40) < 4, np.arange(40) < 5), unlearned_rows(np.arange(40) < 4, np.arange(40) < 20)
    (True, False)
    """
    gained = int(after.sum()) - int(before.sum())
    return len(before) >= MIN_HELD_OUT and gained < LEAST_TAUGHT * int((~before).sum())


@dataclass(frozen=True, slots=True)
class Theft:
    """A new label takes ``taken`` of ``rows`` right answers: those of class ``old``, or of all classes (None)."""

    label: int
    old: int | None
    taken: int
    rows: int


def find_thefts(
    targets: np.ndarray,
    right: np.ndarray,
    answers: np.ndarray,
    known: int,
    margin: float,
    alike: Mapping[int, int] | None = None,
) -> list[Theft]:
    """New classes that take more right answers of old ones than chance explains, each once, with its worst theft.

    Parameters
    ----------
    targets : numpy.ndarray
        [trusted] class indices.
    right : numpy.ndarray
        [trusted] bool: the champion's answer is the target.
    answers : numpy.ndarray
        [trusted] class indices of the candidate's answers.
    known : int
        How many classes the champion knows; higher indices are new.
    margin : float
        Tolerated share of all right answers; of one class's it is a tenth.
    alike : mapping of int to int, optional
        The old class that the rows of a new one look like. From that one, more than a tenth is enough, also if chance
        could explain it.

    Examples
    --------
    >>> targets = np.repeat([0, 1], 40)
    >>> taken = np.where(np.arange(80) < 20, 2, targets)
    >>> find_thefts(targets, np.ones(80, bool), taken, known=2, margin=0.01)[0]
    Theft(label=2, old=0, taken=20, rows=40)
    """
    right = right & (targets >= 0) & (targets < known)
    old, answer = targets[right], answers[right]
    sizes = np.bincount(old, minlength=known)
    pairs, counts = np.unique(np.stack([old, answer])[:, answer >= known], axis=1, return_counts=True)
    cases = [
        Theft(int(label), int(code), int(n), int(sizes[code])) for (code, label), n in zip(pairs.T, counts, strict=True)
    ]
    labels, totals = np.unique(answer[answer >= known], return_counts=True)
    cases += [Theft(int(label), None, int(n), len(old)) for label, n in zip(labels, totals, strict=True)]
    found: dict[int, Theft] = {}
    chances = [_by_chance(case, margin) for case in cases]
    # A class that is taken from says more than all of them together.
    for chance, case in sorted(zip(chances, cases, strict=True), key=lambda pair: (pair[1].old is None, pair[0])):
        expected = alike is not None and case.old is not None and alike.get(case.label) == case.old
        if chance <= SIGNIFICANCE / len(cases) or (expected and case.taken > CLASS_SHARE * case.rows):
            found.setdefault(case.label, case)
    return list(found.values())


def _by_chance(case: Theft, margin: float) -> float:
    """P(at least as many are taken), where just as many are as is tolerated."""
    return 1.0 - binomial_tail(case.taken - 1, case.rows, margin if case.old is None else CLASS_SHARE)
