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
