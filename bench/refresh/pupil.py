"""A life of a learner: the stages in order, each timed, each followed by the test rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from bench.refresh.data import Rows, Stage, Stream
from bench.refresh.results import Result, StageResult
from bench.refresh.scores import score, seen_accuracy
from dripstone.models.classifier import Classifier
from dripstone.models.text import text_classifier
from dripstone.train.features import features_of


class Pupil(Protocol):
    """A learner that gets stage after stage."""

    def learn(self, stage: Stage, known: int) -> tuple[int, str]:
        """Learn a stage, after which ``known`` classes are known.

        Returns
        -------
        tuple of int and str
            Bytes that the new version takes on the disk, and a word on what happened.
        """
        ...

    def answer(self, texts: Sequence[str], known: int) -> np.ndarray:
        """The best of the known classes for each text, [rows] int64; -1 where there is none."""
        ...


class Floor:
    """The cost of one forward pass over rows, by an encoder of its own that nobody trains."""

    def __init__(self, encoder: str) -> None:
        self._model = _untrained(encoder)

    def seconds(self, rows: Rows) -> float:
        """CPU seconds."""
        began = time.process_time()
        features_of(self._model, rows.texts)
        return time.process_time() - began


@lru_cache(maxsize=1)
def _untrained(encoder: str) -> Classifier:
    """A process that runs several learners loads it once."""
    return text_classifier(encoder=encoder, random_features=1)


def live(name: str, pupil: Pupil, stream: Stream, floor: Floor, measured: Rows) -> Result:
    """All stages; nothing but ``learn`` counts as the learner's CPU time."""
    stages, right, known = [], [], []
    for number, stage in enumerate(stream.stages):
        known.append(stream.known(number))
        began = time.process_time()
        size, note = pupil.learn(stage, known[-1])
        spent = time.process_time() - began
        right.append(marks(pupil, measured, known[-1]))
        stages.append(
            StageResult(
                sent=len(stage.sent),
                learned=len(stage.learned),
                cpu_seconds=spent,
                forward_seconds=floor.seconds(stage.sent),
                bytes=size,
                accuracy=seen_accuracy(right[-1], measured.targets, known[-1]),
                note=note,
            )
        )
    return Result(name, stages=stages, scores=score(right, measured.targets, known))


def marks(pupil: Pupil, measured: Rows, known: int) -> np.ndarray:
    """[rows] bool: which rows it has right; rows of classes that are not known yet are not asked."""
    asked = measured.targets < known
    right = np.zeros(len(measured), dtype=bool)
    right[asked] = pupil.answer(measured.where(asked).texts, known) == measured.targets[asked]
    return right
