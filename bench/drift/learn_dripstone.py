"""Dripstone as a user would run it: an update for every hundred labelled rows, and its defaults."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from bench.drift.data import Stream
from bench.drift.prequential import NO_ANSWER, Inputs
from bench.drift.results import Step
from dripstone.core.records import Drift, Update
from dripstone.learner import Learner
from dripstone.models import mlp, text_classifier

EVERY = 100
"""Labelled rows of an update."""

CURATED = "screen+dedupe+drift+noise+forget:1000+replay:2000"
UNFORGETTING = "screen+dedupe+drift+noise+replay:2000"
DEFAULT = "screen+replay:2000"


class Dripstone:
    """A project whose model is never told more than the rows.

    Parameters
    ----------
    folder : path
        An empty folder.
    stream : Stream
        For its labels and what its rows are.
    encoder : str
        Folder of the encoder of texts.
    curate, gate : str
        Curation policy, and mode of the gate.
    seed : int
        Of the model and of training, and of the key by which rows are held out.
    """

    every = EVERY

    def __init__(self, folder: Path, stream: Stream, encoder: str, curate: str, gate: str, seed: int) -> None:
        model = text_classifier(encoder=encoder, seed=seed) if stream.texts else mlp(_columns(stream), seed=seed)
        self.steps: list[Step] = []
        self._labels = stream.labels
        self._learner = Learner.create(
            folder, model=model, input="input", curate=curate, gate=gate, settings={"train.seed": seed}
        )
        # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
        (self._learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed % 256] * 32))

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """One update."""
        began = time.process_time()
        rows = [
            {"input": row, "label": self._labels[target]} for row, target in zip(inputs, targets.tolist(), strict=True)
        ]
        update = self._learner.update(rows)
        self.steps.append(as_step(update, len(rows), time.process_time() - began))

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The live version's answers; none as long as no version is live that knows a label."""
        if not self._learner.champion().task.labels:
            return np.full(len(inputs), NO_ANSWER)
        return np.array([self._labels.index(str(label)) for label in self._learner.predict(inputs)], dtype=np.int64)


class Scaled:
    """Dripstone, with each column divided by its deviation in the first rows that it learns."""

    every = EVERY

    def __init__(self, pupil: Dripstone) -> None:
        self._pupil = pupil
        self._unit: np.ndarray | None = None

    @property
    def steps(self) -> list[Step]:
        """The updates."""
        return self._pupil.steps

    def learn(self, inputs: Inputs, targets: np.ndarray) -> None:
        """One update."""
        if self._unit is None:
            deviation = np.std(inputs, axis=0)  # type: ignore[arg-type]
            self._unit = np.where(deviation > 0, deviation, 1).astype(np.float32)
        self._pupil.learn(inputs / self._unit, targets)  # type: ignore[operator]

    def predict(self, inputs: Inputs) -> np.ndarray:
        """The live version's answers."""
        return self._pupil.predict(inputs / self._unit)  # type: ignore[operator]


def _columns(stream: Stream) -> int:
    assert isinstance(stream.inputs, np.ndarray)
    return stream.inputs.shape[1]


def as_step(update: Update, rows: int, cpu_seconds: float) -> Step:
    """What the bench keeps of an update's report."""
    drift = update.drift or Drift()
    return Step(
        rows=rows,
        verdict=update.verdict,
        reason=update.reason,
        selection=update.selection,
        tried=[rung.selection for rung in update.rungs],
        inputs=drift.inputs,
        errors=drift.errors,
        rejected=update.rejections,
        trained=update.examples.trained,
        pending=update.examples.pending,
        quarantined=update.examples.quarantined,
        cpu_seconds=cpu_seconds,
    )
