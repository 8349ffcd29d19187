"""Numbers on the command line and over HTTP: the same words, and what they mean there."""

from __future__ import annotations

import asyncio
import json

import msgspec
import numpy as np
import pytest
from view_samples import run, write_jsonl

from dripstone.learner import Learner
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import load
from dripstone.serve.slot import Slot
from number_samples import measured


@pytest.fixture
def project(tmp_path):
    rows = write_jsonl(tmp_path / "day-1.jsonl", measured(300, seed=1))
    made = run(
        "init", tmp_path / "p", "--model", "dripstone.models:mlp", "--model-arg", "inputs=2",
        "--model-arg", "random_features=64", "--task", "regression",
    )  # fmt: skip
    assert "it knows no number yet" in made.output
    found = run("-C", tmp_path / "p", "update", rows)
    assert "- -> 0." in found.output
    assert "root mean square, on" in found.output
    return tmp_path / "p"


def test_a_project_of_numbers_is_made_measured_and_asked(project, tmp_path):
    more = write_jsonl(tmp_path / "day-2.jsonl", measured(300, seed=2))
    second = run("-C", project, "update", more)
    assert "accuracy" not in second.output
    report = json.loads(run("-C", project, "update", more, "--format", "json").output.splitlines()[-1])
    assert report["verdict"] == "unchanged"
    test = write_jsonl(tmp_path / "test.jsonl", measured(50, seed=3))
    measures = run("-C", project, "evaluate", test).output
    assert measures.startswith("rmse 0.")
    assert ", mae 0." in measures
    found = json.loads(run("-C", project, "evaluate", test, "--format", "json").output)
    assert set(found["metrics"]) == {"rmse", "mae", "r2", "by_slice"}
    lines = run("-C", project, "predict", test).output.splitlines()
    number, error = map(float, lines[0].split("\t"))
    assert number == pytest.approx(measured(50, seed=3)[0]["label"], abs=3)
    assert 0 < error < 2
    for words in (["status"], ["log"], ["show", "live"], ["show", "live", "--examples"], ["verify"]):
        run("-C", project, *words)


def test_version_1_trained_on_a_file_knows_its_number(tmp_path):
    rows = write_jsonl(tmp_path / "day-1.jsonl", measured(100, seed=1))
    made = run(
        "init", tmp_path / "q", "--model", "dripstone.models:mlp", "--model-arg", "inputs=2", "--task", "regression",
        "--data", rows,
    )  # fmt: skip
    assert "it knows a number" in made.output


def test_a_server_answers_with_the_number_and_its_usual_error(project):
    learner = Learner.open(project)

    async def ask():
        slot = Slot(keep=1)
        slot.swap(load(learner.repository, learner.repository.log.head()))
        batcher = Batcher(slot, max_batch=4, max_wait_ms=1)
        batcher.start()
        answer = await batcher.submit([np.float32([0.1, 0.2])])
        await batcher.stop()
        return answer.rows

    (row,) = asyncio.run(ask())
    assert row["prediction"] == pytest.approx(learner.predict([[0.1, 0.2]])[0])
    assert msgspec.json.encode(row)
