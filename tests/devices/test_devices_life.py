"""A life of a store whose models live on a GPU, beside the same life on the CPU."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest

from dripstone.core.devices import CPU
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.models.text import text_classifier
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import load
from dripstone.serve.slot import Slot
from learner_samples import blobs, make

pytestmark = [
    pytest.mark.gpu,
    # What the CPU's kernels say of an empty result that they fill.
    pytest.mark.filterwarnings("ignore:An output with one or more elements was resized"),
]

STAGES = ("ab", "abc", "abcd")
LIVES = [
    ("ladder", {}),
    ("head@ridge", {}),
    ("head@adamw", {"train.retain.distill": 0.5, "train.retain.ewc": 0.5}),
    ("suffix:1@adamw", {"train.retain.ewc": 0.5}),
    ("suffix:2@nadam", {"train.retain.derpp": 0.5, "train.step.carry": True}),
    ("vectors@sgd", {"train.retain.l2": 0.1, "train.stop.patience": 2}),
    ("full@muon", {"train.step.carry": True, "train.step.clip": 1.0}),
]


def live(folder, selection, settings):
    folder.mkdir()
    model = mlp(inputs=2, hidden=[16, 16], random_features=64)
    learner = make(folder, {"select.selection": selection, "gate.mode": "off", **settings}, model=model)
    for seed, labels in enumerate(STAGES):
        assert learner.update(blobs(100, seed=seed, labels=labels)).promoted
    return learner


def on(device, model):
    return {tensor.device for tensor in [*model.parameters(), *model.buffers()]} == {device}


@pytest.mark.parametrize(("selection", "settings"), LIVES, ids=[selection for selection, _ in LIVES])
def test_a_model_on_the_device_learns_what_one_on_the_cpu_learns(tmp_path, device, monkeypatch, selection, settings):
    learner = live(tmp_path / "device", selection, settings)
    assert on(device, learner.champion().model)
    rows = blobs(50, seed=9, labels="abcd")
    there = learner.predict([row["inputs"] for row in rows])
    version = learner.champion().version
    learner.revert()
    learner.revert()
    assert learner.predict([row["inputs"] for row in rows]) == there
    monkeypatch.setattr("dripstone.checkout.chosen_device", lambda: CPU)
    again = Learner.open(learner.project)
    assert on(CPU, again.champion(version).model)
    assert_alike(again.predict([row["inputs"] for row in rows]), there)
    apart = live(tmp_path / "cpu", selection, settings)
    assert_alike(apart.predict([row["inputs"] for row in rows]), there)


def assert_alike(answers, others):
    """The same but for rounding: one row in twenty-five."""
    assert sum(one != other for one, other in zip(answers, others, strict=True)) <= len(answers) / 25


def test_tuned_on_the_device_the_features_serve(tmp_path, device):
    learner = make(tmp_path, {"train.learning_rate": 0.05}, model=mlp(inputs=2, hidden=[16, 4], random_features=64))
    update = learner.update(blobs(100, seed=0, labels="abcdef", spread=1.0))
    assert [rung.selection for rung in update.rungs] == ["head@ridge", "suffix:2@adamw"]
    assert on(device, learner.champion().model)


def test_features_and_statistics_are_rebuilt_on_the_device(tmp_path, device):
    learner = live(tmp_path / "device", "full@sgd", {})
    shutil.rmtree(learner.repository.path / "training" / "state")
    update = Learner.open(learner.project).update(blobs(100, seed=5, labels="abcd"), select="head@ridge")
    assert update.promoted


def test_texts(tmp_path, device, encoder_folder):
    model = text_classifier(encoder=str(encoder_folder), random_features=64)
    learner = make(tmp_path, {"select.selection": "suffix:1@adamw", "gate.mode": "off"}, model=model, input="text")
    draw = np.random.default_rng(0)
    words = {"lost": "where is my card lost old no", "bill": "i want to pay the bill now please yes"}
    rows = [
        {"text": " ".join(draw.choice(words[label].split(), 6)), "label": label} for _ in range(60) for label in words
    ]
    texts = [row["text"] for row in rows]
    assert learner.update(rows).promoted
    assert on(device, learner.champion().model)
    right = [answer == row["label"] for answer, row in zip(learner.predict(texts), rows, strict=True)]
    assert np.mean(right) > 0.9


def test_a_server_answers_from_the_device(tmp_path, device):
    learner = live(tmp_path / "device", "head@ridge", {})
    served = load(learner.repository, learner.repository.log.head())
    assert on(device, served.model)
    slot = Slot(keep=1)
    slot.swap(served)
    rows = [row["inputs"] for row in blobs(5, seed=9, labels="abcd")]
    answer = asyncio.run(ask(slot, [np.array(row, dtype=np.float32) for row in rows]))
    assert [row["prediction"] for row in answer.rows] == learner.predict(rows)


async def ask(slot, inputs):
    batcher = Batcher(slot, max_batch=8, max_wait_ms=1)
    batcher.start()
    try:
        return await batcher.submit(inputs)
    finally:
        await batcher.stop()
