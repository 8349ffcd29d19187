"""Rows as a version answered them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """Answers held against targets.

    ``answers`` [rows] int64 are indices among the task's labels, -1 where there is none; ``right`` [rows] bool;
    ``probability`` [rows] float32 of the target, 0 where it is not known; ``confidence`` [rows] float32 of the answer.
    ``kept`` [rows, 2] float32 is what a training state keeps of them: the task makes ``right`` and ``probability`` of
    it again.
    """

    answers: np.ndarray
    right: np.ndarray
    probability: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray
