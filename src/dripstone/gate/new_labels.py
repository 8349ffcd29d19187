"""Do new labels make sense? One that is not learned, or takes right answers of old classes, is set aside alone.

A label that is new cannot be held against the champion, which does not know it. What can be seen is whether the
candidate finds it again on its own held-out rows, and what it answers where the old answer was right: honest new
classes take a few such rows, from one class a fifth at most; old rows under a new name take half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dripstone.gate.sense import SIGNIFICANCE, binomial_tail

MIN_HELD_OUT = 20
CLASS_SHARE = 0.1
"""Tolerated share of one class's right answers that one new label takes."""


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


@dataclass(frozen=True, slots=True)
class Theft:
    """A new label takes ``taken`` of ``rows`` right answers: those of class ``old``, or of all classes (None)."""

    label: int
    old: int | None
    taken: int
    rows: int


def find_thefts(targets: np.ndarray, right: np.ndarray, answers: np.ndarray, known: int, margin: float) -> list[Theft]:
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
        if chance <= SIGNIFICANCE / len(cases):
            found.setdefault(case.label, case)
    return list(found.values())


def _by_chance(case: Theft, margin: float) -> float:
    """P(at least as many are taken), where just as many are as is tolerated."""
    return 1.0 - binomial_tail(case.taken - 1, case.rows, margin if case.old is None else CLASS_SHARE)
