"""Predict each row, then learn it once its label has arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bench.drift.data import Stream

WARM_UP = 200
"""Rows whose labels are there at once; they are learned and not scored."""

NO_ANSWER = -1

Inputs = Sequence[str] | np.ndarray
"""Texts, or [rows, columns] float32."""


class Pupil(Protocol):
    """A learner. ``every`` is how many labelled rows it waits for before it learns."""

    every: int

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """Learn rows, in the order in which they came; ``targets`` is [rows] int64."""
        ...

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The best class of each row, [rows] int64; -1 for none. What is learned meanwhile does not depend on it."""
        ...


def evaluate(pupil: Pupil, stream: Stream, delay: int, warm_up: int = WARM_UP) -> np.ndarray:
    """What a learner answered to each row before it could have known.

    Row t is predicted, and the label of row t arrives once row t + ``delay`` has been predicted. A learner that waits
    for several labels learns when the last of them has arrived. Rows between two lessons are predicted together, which
    gives the same answers.

    Parameters
    ----------
    pupil : Pupil
        A learner that has seen nothing.
    stream : Stream
        The rows.
    delay : int
        Rows that are predicted between a row and the arrival of its label; 0 for at once.
    warm_up : int
        First rows, learned before anything is predicted.

    Returns
    -------
    numpy.ndarray
        [rows] int64; -1 for rows of the warm-up and where there was no answer.
    """
    answers = np.full(len(stream), NO_ANSWER)
    pupil.learn(stream.inputs[:warm_up], stream.targets[:warm_up])
    learned = row = warm_up
    while row < len(stream):
        while learned + pupil.every <= row - delay:
            lesson = slice(learned, learned + pupil.every)
            pupil.learn(stream.inputs[lesson], stream.targets[lesson])
            learned += pupil.every
        until = min(len(stream), learned + pupil.every + delay)
        answers[row:until] = pupil.predict(stream.inputs[row:until])
        row = until
    return answers
