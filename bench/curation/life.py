"""One life: a stream, a way to spoil it, a learner and a policy; what came of it and what it cost."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import torch

from bench.curation.spoil import spoil
from bench.refresh.data import FULL, QUICK, Rows, concatenate, read_stream
from dripstone.learner import Learner
from dripstone.models.text import text_classifier
from dripstone.tasks.classification import answers
from dripstone.train.features import features_of, outputs_of

MERGED = 3
"""Stages of ten classes that arrive together here."""

STAGES = {"clinc150": 15, "banking77": 8}


class Life(msgspec.Struct, frozen=True):
    """What is lived. ``policy`` is a curation text."""

    data: str
    spoilt: str
    learner: str
    policy: str
    seed: int
    quick: bool = False


class Lived(msgspec.Struct, frozen=True):
    """Accuracy on the test rows of all classes at the end, CPU seconds of all updates, rows sent and learned."""

    life: Life
    accuracy: float
    cpu_seconds: float
    sent: int
    learned: int
    rejected: dict[str, int]


def live(life: Life, data: Path, encoder: str) -> Lived:
    """Live it; the gate is off, so that curation alone decides what is learned."""
    torch.set_num_threads(1)
    scale = QUICK if life.quick else FULL
    stream = read_stream(data / life.data, 2 if life.quick else STAGES[life.data], scale, life.seed)
    parts = [stage.sent for stage in stream.stages]
    merged = [concatenate(parts[start : start + MERGED]) for start in range(0, len(parts), MERGED)]
    stages = spoil(merged, life.spoilt, life.seed)
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner.create(
            Path(folder) / "project",
            model=text_classifier(encoder=encoder, random_features=scale.random_features, seed=life.seed),
            input="input",
            select=life.learner,
            curate=life.policy,
            gate="off",
            settings={"train.seed": life.seed},
        )
        # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
        (learner.repository.path / "training" / "holdout.key").write_bytes(stream.key)
        began = time.process_time()
        updates = [learner.update(_records(stage, stream.labels)) for stage in stages]
        spent = time.process_time() - began
        rejected: Counter[str] = Counter()
        for update in updates:
            rejected.update(update.rejections)
        return Lived(
            life,
            _accuracy(learner, stream.test, stream.labels),
            spent,
            sum(update.examples.received for update in updates),
            sum(update.examples.trained for update in updates),
            dict(rejected),
        )


def _records(rows: Rows, labels: tuple[str, ...]) -> list[dict[str, str]]:
    pairs = zip(rows.texts, rows.targets.tolist(), strict=True)
    return [{"input": text, "label": labels[target]} for text, target in pairs]


def _accuracy(learner: Learner, test: Rows, labels: tuple[str, ...]) -> float:
    champion = learner.champion()
    known = {label: place for place, label in enumerate(labels)}
    places = np.array([*(known[str(label)] for label in champion.task.labels), -1])
    found = places[answers(outputs_of(champion.model, features_of(champion.model, test.texts)))]
    return float((found == test.targets).mean())
