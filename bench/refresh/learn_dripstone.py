"""Dripstone itself: a real project in a folder, with its gate and its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.refresh.data import Stage, Stream
from dripstone.learner import Learner
from dripstone.models.text import text_classifier
from dripstone.tasks.classification import answers
from dripstone.train.features import features_of, outputs_of


class Dripstone:
    """A project with the defaults, but for the selection and what that selection trains with.

    Parameters
    ----------
    folder : pathlib.Path
        Where the project is made.
    encoder : str
        Folder of the encoder.
    stream : Stream
        For its labels, its key and its scale.
    selection : str
        As ``select=`` takes it.
    settings : mapping
        Keys of the ``train`` section.
    seed : int
        Of the model and of the loop.
    """

    def __init__(
        self, folder: Path, encoder: str, stream: Stream, selection: str, settings: Mapping[str, Any], seed: int
    ) -> None:
        self._stream = stream
        self._places = {label: place for place, label in enumerate(stream.labels)}
        self._learner = Learner.create(
            folder,
            model=text_classifier(encoder=encoder, random_features=stream.scale.random_features, seed=seed),
            input="input",
            select=selection,
            curate=f"screen+replay:{stream.scale.memory}",
            gate="steady",
            settings={**settings, "train.seed": seed},
        )
        # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
        (self._learner.repository.path / "training" / "holdout.key").write_bytes(stream.key)

    def learn(self, stage: Stage, known: int) -> tuple[int, str]:
        rows = [
            {"input": text, "label": self._stream.labels[target]}
            for text, target in zip(stage.sent.texts, stage.sent.targets.tolist(), strict=True)
        ]
        update = self._learner.update(rows)
        rungs = ", ".join(rung.selection for rung in update.rungs) or update.selection
        return update.delta_bytes, f"{update.verdict} by {rungs}, trained on {update.examples.trained}"

    def answer(self, texts: Sequence[str], known: int) -> np.ndarray:
        champion = self._learner.champion()
        places = np.array([*(self._places[str(label)] for label in champion.task.labels), -1])
        return places[answers(outputs_of(champion.model, features_of(champion.model, texts)))]
