"""Learners that stay as they are: trained once, on the first 500 rows; and the last label as the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from bench.drift.prequential import NO_ANSWER, WARM_UP, Inputs

FIRST = 500
"""Rows that a static model is trained on."""


class Model(Protocol):
    """What is trained once."""

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None: ...

    def predict(self, inputs: Inputs) -> np.ndarray: ...


class Static:
    """A model of the first 500 rows; of the warm-up until their labels have arrived.

    Parameters
    ----------
    make : callable
        Gives a new model.
    """

    every = FIRST - WARM_UP

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._lessons: list[tuple[Inputs, np.ndarray]] = []
        self._model: Model | None = None

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """Train on the first rows; later ones are nothing to it."""
        if sum(len(labels) for _, labels in self._lessons) >= FIRST:
            return
        self._lessons.append((inputs, targets))
        together = [row for rows, _ in self._lessons for row in rows]
        self._model = self._make()
        rows: Inputs = np.stack(together) if isinstance(inputs, np.ndarray) else together
        self._model.learn(rows, np.concatenate([labels for _, labels in self._lessons]))

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The model's answers."""
        assert self._model is not None
        return self._model.predict(inputs)


class LastLabel:
    """The label that came last, whatever the row: what a stream's order alone is worth."""

    every = 1

    def __init__(self) -> None:
        self._last = NO_ANSWER

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """Remember one label."""
        self._last = int(targets[-1])

    def predict(self, inputs: Inputs) -> np.ndarray:
        """That label."""
        return np.full(len(inputs), self._last)
