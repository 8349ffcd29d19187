"""How well a learner did over its life, from which test rows it had right after each stage."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np


class Scores(msgspec.Struct, frozen=True):
    """Shares of test rows, 0 to 1.

    accuracy : at the end, on all classes. average : over stages, of the accuracy on the classes known then.
    forgetting : mean over the classes known before the last stage of their best accuracy so far minus their last.
    flips : share of test rows of known classes that a stage turned from right to wrong, mean over stages but the first.
    """

    accuracy: float
    average: float
    forgetting: float
    flips: float


def score(right: Sequence[np.ndarray], targets: np.ndarray, known: Sequence[int]) -> Scores:
    """The scores of a life.

    Parameters
    ----------
    right : sequence of numpy.ndarray
        For each stage, [rows] bool: which test rows were answered right. Rows of classes not known yet do not count.
    targets : numpy.ndarray
        [rows] int64 classes of the test rows, numbered as they arrive.
    known : sequence of int
        For each stage, how many classes are known after it.

    Examples
    --------
    >>> targets = np.array([0, 0, 1, 1])
    >>> score([np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 1], bool)], targets, [1, 2])
    Scores(accuracy=0.75, average=0.875, forgetting=0.5, flips=0.5)
    """
    by_stage = [seen_accuracy(mask, targets, count) for mask, count in zip(right, known, strict=True)]
    return Scores(
        by_stage[-1], float(np.mean(by_stage)), _forgetting(right, targets, known), _flips(right, targets, known)
    )


def seen_accuracy(right: np.ndarray, targets: np.ndarray, known: int) -> float:
    """Accuracy on the first ``known`` classes."""
    return float(right[targets < known].mean())


def _forgetting(right: Sequence[np.ndarray], targets: np.ndarray, known: Sequence[int]) -> float:
    if len(right) < 2:
        return 0.0
    falls = []
    for label in range(known[-2]):
        of_class = targets == label
        found = [mask[of_class].mean() for mask, count in zip(right, known, strict=True) if label < count]
        falls.append(max(found) - found[-1])
    return float(np.mean(falls))


def _flips(right: Sequence[np.ndarray], targets: np.ndarray, known: Sequence[int]) -> float:
    shares = [
        (before & ~after)[targets < count].mean()
        for before, after, count in zip(right, right[1:], known[:-1], strict=False)
    ]
    return float(np.mean(shares)) if shares else 0.0
