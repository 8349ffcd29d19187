"""Regression: an example's target is a number, and the output layer has one output for it.

A number is judged by how likely it is, as a label is by its probability: of an error e, measured in the usual error u
of the live version, exp(-(e/u)^2 / 2), the density of a normal distribution relative to its mode. Its logarithm is the
squared error, so that the gate's bounded log-loss is a bounded squared error; see ``docs/design/019-numbers.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from dripstone.core.examples import Inputs, Label
from dripstone.core.marked import Marked
from dripstone.core.protocols import Model, Task
from dripstone.tasks.asked import asked

VALUE = "value"
"""What the one output is called where a classifier's outputs have the names of labels."""

WITHIN = 2.0
"""Usual errors up to which an answer counts as right, where a yes or no is asked for: about 19 of 20 are."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A number a row; ``labels`` is empty before the first one was learned, ``unit`` the size of a usual error.

    Examples
    --------
    >>> task = Regression().grow([1.5, 2.0])
    >>> task.encode([3, "three"]), task.classes(task.encode([3, "three"]))
    (array([ 3., nan]), array([ 0, -1]))
    """

    labels: tuple[Label, ...] = ()
    unit: float = 1.0

    kind: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = ("squared_error",)
    numbers: ClassVar[bool] = True
    texts: ClassVar[bool] = False
    replies: ClassVar[bool] = False

    def of(self, model: Model) -> Regression:
        """The task with the usual error of a model, which the closed form has measured and keeps as its scale."""
        return replace(self, unit=float(model.head.scale))

    @staticmethod
    def settings(model: Any) -> Mapping[str, Any]:
        """Nothing that a new project has other than by default."""
        return {}

    @staticmethod
    def known(model: Any) -> tuple[Label, ...]:
        """What a new model has learned already: nothing that it could say itself."""
        return ()

    def beside(self, champion: Task) -> Regression:
        """The task as the candidate is judged: errors count in the champion's unit, so that both have the same."""
        return replace(self, unit=champion.unit) if isinstance(champion, Regression) and champion.labels else self

    def grow(self, targets: Iterable[Any]) -> Regression:
        """The task once rows with these targets are learned."""
        return replace(self, labels=(VALUE,)) if any(True for _ in targets) else self

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """Numbers [rows] float64; NaN for what is none."""
        plain = [float(t) if isinstance(t, int | float) and not isinstance(t, bool) else math.nan for t in targets]
        return np.array(plain, dtype=np.float64)

    def classes(self, encoded: np.ndarray) -> np.ndarray:
        """[rows] int64: all numbers are of one class, 0; -1 for what is no number, or where none was learned yet."""
        return np.where(np.isfinite(encoded) & (len(self.labels) > 0), 0, -1)

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Half the squared error of each row in the task's unit, [rows]."""
        return ((outputs[:, 0] - targets.to(outputs)) / self.unit).square() / 2

    def mark(self, outputs: torch.Tensor, targets: np.ndarray, classes: int | None = None) -> Marked:
        """Hold answers against numbers; a row whose answer is no finite number has none.

        Parameters
        ----------
        outputs : torch.Tensor
            [rows, outputs], one of them or none.
        targets : numpy.ndarray
            [rows] float64.
        classes : int, optional
            How many outputs may be read.

        Examples
        --------
        >>> marked = Regression(("value",), unit=2.0).mark(torch.tensor([[5.0], [9.0]]), np.array([3.0, 3.0]))
        >>> marked.right, marked.probability.round(2), marked.kept[:, 1]
        (array([ True, False]), array([0.61, 0.01], dtype=float32), array([2., 6.], dtype=float32))
        """
        read = outputs[:, :classes].double().cpu().numpy()
        given = read[:, 0] if read.shape[1] else np.full(len(read), np.nan)
        errors = given - targets
        finite = np.isfinite(errors)
        kept = np.stack([finite, np.where(finite, errors, 0.0)], axis=1).astype(np.float32)
        right, probability = self.marks(kept)
        return Marked(np.where(np.isfinite(given), 0, -1), right, probability, probability, kept)

    def marks(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each row is right, and how likely its number was, of [rows, 2]: answered or not, and the error."""
        answered, units = kept[:, 0] > 0, np.abs(kept[:, 1].astype(np.float64)) / self.unit
        likely = np.where(answered, np.exp(-np.square(units) / 2), 0.0).astype(np.float32)
        return answered & (units <= WITHIN), likely

    def predict(self, model: Any, inputs: Sequence[Inputs]) -> list[dict[str, Any]]:
        """What a user reads: the number, and the usual error.

        Examples
        --------
        >>> from dripstone.models import mlp
        >>> model = mlp(inputs=1)
        >>> model.grow(1)
        >>> Regression(("value",), unit=0.5).predict(model, [np.array([2.0])])
        [{'prediction': 0.0, 'scores': {'usual_error': 0.5}}]
        """
        outputs = asked(model, inputs, len(self.labels))
        return [{"prediction": value, "scores": {"usual_error": self.unit}} for value in outputs[:, 0].tolist()]

    def answers(self, outputs: torch.Tensor) -> list[Any]:
        """The number of each row, None where there is none."""
        return [value if math.isfinite(value) else None for value in outputs[:, 0].tolist()]

    def same(self, one: Any, other: Any) -> bool:
        """Whether two predictions differ by no more than a usual error."""
        return one == other if one is None or other is None else abs(one - other) <= self.unit

    def better(self, one: Any, other: Any, target: Any) -> bool:
        """Whether one number is nearer to the target."""
        distances = [math.inf if answer is None else abs(answer - target) for answer in (one, other)]
        return bool(distances[0] < distances[1])
