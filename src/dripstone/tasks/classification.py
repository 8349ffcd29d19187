"""Classification: an example's target is one of the labels seen so far, and the output layer grows with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from dripstone.core.examples import Inputs, Label
from dripstone.core.losses import cross_entropy
from dripstone.core.marked import Marked
from dripstone.core.protocols import Model, Task
from dripstone.tasks.asked import asked


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

    labels: tuple[Label, ...] = ()

    kind: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")
    numbers: ClassVar[bool] = False
    texts: ClassVar[bool] = False
    replies: ClassVar[bool] = False

    def of(self, model: Model) -> Classification:
        """The task itself: nothing of it stands in the model."""
        return self

    @staticmethod
    def settings(model: Any) -> Mapping[str, Any]:
        """Nothing that a new project has other than by default."""
        return {}

    @staticmethod
    def known(model: Any) -> tuple[Label, ...]:
        """What a new model has learned already: nothing that it could say itself."""
        return ()

    def beside(self, champion: Task) -> Classification:
        """The task itself: a probability needs no unit."""
        return self

    def grow(self, targets: Iterable[Any]) -> Classification:
        """The vocabulary with what it lacks appended, in sorted order, so that the order of rows does not matter."""
        return Classification(self.labels + tuple(sorted(set(targets) - set(self.labels), key=_sort_key)))

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """Class indices [rows] int64; -1 for a label that is not known, or anything that is no label."""
        index = {label: position for position, label in enumerate(self.labels)}
        # By exact type: True and 1.0 equal 1 but are no labels, and a list has no hash.
        return np.array([-1 if type(t) not in (int, str) else index.get(t, -1) for t in targets], dtype=np.int64)

    def classes(self, encoded: np.ndarray) -> np.ndarray:
        """The class of each encoded target, [rows] int64: itself."""
        return encoded

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each row, [rows]."""
        return cross_entropy(outputs, targets)

    def mark(self, outputs: torch.Tensor, targets: np.ndarray, classes: int | None = None) -> Marked:
        """Hold answers against encoded targets, among the first ``classes`` labels where given; see `mark`."""
        return mark(outputs, targets, classes)

    def marks(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each row is right, and the probability of its label, of what was kept, [rows, 2]."""
        return kept[:, 0] > 0, kept[:, 1]

    def predict(self, model: Any, inputs: Sequence[Inputs]) -> list[dict[str, Any]]:
        """What a user reads; see `predictions`."""
        return predictions(asked(model, inputs, len(self.labels)), self.labels)

    def answers(self, outputs: torch.Tensor) -> list[Any]:
        """The best label of each row, None where there is none."""
        return [self.labels[index] if index >= 0 else None for index in answers(outputs)]

    def same(self, one: Any, other: Any) -> bool:
        """Whether two labels are one."""
        return bool(one == other)

    def better(self, one: Any, other: Any, target: Any) -> bool:
        """Whether one label is the target; two that differ cannot both be."""
        return bool(one == target)


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
        return _marked(np.full(rows, -1, dtype=np.int64), np.zeros(rows, dtype=bool), nothing, nothing)
    finite = torch.isfinite(allowed).all(dim=1)
    shares = torch.softmax(torch.where(finite[:, None], allowed, 0.0), dim=1)
    confidence, best = shares.max(dim=1)
    numbers = torch.from_numpy(targets)
    known = finite & (numbers >= 0) & (numbers < width)
    mine = shares.gather(1, torch.where(known, numbers, 0)[:, None])[:, 0]
    answered = torch.where(finite, best, -1)
    return _marked(
        answered.cpu().numpy(),
        (known & (answered == numbers)).cpu().numpy(),
        torch.where(known, mine, 0.0).cpu().numpy(),
        torch.where(finite, confidence, 0.0).cpu().numpy(),
    )


def _marked(answered: np.ndarray, right: np.ndarray, probability: np.ndarray, confidence: np.ndarray) -> Marked:
    return Marked(answered, right, probability, confidence, np.stack([right, probability], axis=1).astype(np.float32))


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
