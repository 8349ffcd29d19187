"""Classification: an example's target is one of the labels seen so far, and the output layer grows with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dripstone.core.examples import Label


@dataclass(frozen=True, slots=True)
class Classification:
    """The label vocabulary of a version; class i of the output layer answers ``labels[i]``.

    Examples
    --------
    >>> task = Classification(("cat",)).grow(["dog", "cat", "ant"])
    >>> task.labels
    ('cat', 'ant', 'dog')
    >>> task.encode(["dog", "elk"])
    array([ 2, -1])
    """

    labels: tuple[Label, ...]

    def grow(self, targets: Iterable[Label]) -> Classification:
        """The vocabulary with what it lacks appended, in sorted order, so that the order of rows does not matter."""
        return Classification(self.labels + tuple(sorted(set(targets) - set(self.labels), key=_sort_key)))

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """Class indices [rows] int64; -1 for a label that is not known, or anything that is no label."""
        index = {label: position for position, label in enumerate(self.labels)}
        # By exact type: True and 1.0 equal 1 but are no labels, and a list has no hash.
        return np.array([-1 if type(t) not in (int, str) else index.get(t, -1) for t in targets], dtype=np.int64)


def _sort_key(label: Label) -> tuple[str, int, str]:
    return ("i", label, "") if isinstance(label, int) else ("s", 0, label)


def answers(logits: torch.Tensor, classes: int | None = None) -> np.ndarray:
    """The best class of each row, [rows] int64, among the first ``classes`` where given; -1 where there is none.

    Examples
    --------
    >>> answers(torch.tensor([[0.1, 0.2, 0.9]])), answers(torch.tensor([[0.1, 0.2, 0.9]]), classes=2)
    (array([2]), array([1]))
    """
    allowed = logits[:, :classes]
    if allowed.shape[1] == 0:
        return np.full(len(logits), -1, dtype=np.int64)
    return allowed.argmax(dim=1).cpu().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """Rows as a version answered them.

    ``answers`` [rows] are class indices, -1 where there is none; ``right`` [rows] bool; ``probability`` [rows] float32
    of the target, 0 where it is not known; ``confidence`` [rows] float32 of the answer.
    """

    answers: np.ndarray
    right: np.ndarray
    probability: np.ndarray
    confidence: np.ndarray


def mark(logits: torch.Tensor, targets: np.ndarray, classes: int | None = None) -> Marked:
    """Hold answers against targets, among the first ``classes`` where given.

    A row whose logits are no finite numbers has no answer.

    Parameters
    ----------
    logits : torch.Tensor
        [rows, all classes].
    targets : numpy.ndarray
        [rows] class indices; -1 for a label that is not known.
    classes : int, optional
        How many labels may be answered.

    Examples
    --------
    >>> marked = mark(torch.tensor([[2.0, 0.0, 9.0]]), np.array([0]), classes=2)
    >>> marked.right, marked.probability.round(2)
    (array([ True]), array([0.88], dtype=float32))
    """
    allowed = logits[:, :classes].float()
    rows, width = allowed.shape
    if not rows or not width:
        nothing = np.zeros(rows, dtype=np.float32)
        return Marked(np.full(rows, -1, dtype=np.int64), np.zeros(rows, dtype=bool), nothing, nothing)
    finite = torch.isfinite(allowed).all(dim=1)
    shares = torch.softmax(torch.where(finite[:, None], allowed, 0.0), dim=1)
    confidence, best = shares.max(dim=1)
    numbers = torch.from_numpy(targets)
    known = finite & (numbers >= 0) & (numbers < width)
    mine = shares.gather(1, torch.where(known, numbers, 0)[:, None])[:, 0]
    answered = torch.where(finite, best, -1)
    return Marked(
        answered.cpu().numpy(),
        (known & (answered == numbers)).cpu().numpy(),
        torch.where(known, mine, 0.0).cpu().numpy(),
        torch.where(finite, confidence, 0.0).cpu().numpy(),
    )


def predictions(logits: torch.Tensor, labels: Sequence[Label]) -> list[dict[str, Any]]:
    """What a user reads: the best label of each row (None where there is no label), and the probability of every label.

    Examples
    --------
    >>> predictions(torch.tensor([[0.0, 0.0]]), ["no", "yes"])
    [{'prediction': 'no', 'scores': {'no': 0.5, 'yes': 0.5}}]
    """
    probabilities = torch.softmax(logits.float(), dim=1).tolist()
    return [
        {
            "prediction": labels[index] if labels else None,
            "scores": {str(label): p for label, p in zip(labels, row, strict=True)},
        }
        for index, row in zip(answers(logits), probabilities, strict=True)
    ]
