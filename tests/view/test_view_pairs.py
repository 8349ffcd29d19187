"""An encoder-decoder on the command line and over HTTP: what is learned, measured, written, compared."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from view_samples import run, write_jsonl

from dripstone.core.config import ServeConfig
from dripstone.learner import Learner
from dripstone.serve.app import make_app
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import load
from dripstone.serve.slot import Slot
from pair_samples import SOUNDS, asked

MODEL = [
    "--model", "dripstone.models:seq2seq", "--model-arg", "tokenizer=bytes", "--model-arg", "width=32",
    "--model-arg", "depth=1", "--model-arg", "heads=2", "--model-arg", "context=32", "--model-arg", "reply=12",
    "--task", "seq2seq", "--set", "train.learning_rate=0.01", "--set", "train.batch_size=2",
    "--set", "train.stop.epochs=6", "--set", "gate.minimum=20", "--set", "task.slice=domain",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """It has learned what animals say."""
    folder = tmp_path_factory.mktemp("pairs")
    assert "it knows no reply yet" in run("init", folder / "p", *MODEL).output
    found = run("-C", folder / "p", "update", write_jsonl(folder / "rows.jsonl", asked(200, seed=1)))
    assert "perplexity" in found.output
    return folder / "p"


def test_exact_match_is_measured_first_and_by_slice(project, tmp_path):
    lines = run("-C", project, "evaluate", write_jsonl(tmp_path / "test.jsonl", asked(20, seed=9))).output.splitlines()
    assert lines[0].startswith("exact_match 1.0000, perplexity 1.")
    assert lines[2].split() == ["slice", "exact_match"]
    assert lines[3].split() == ["slice", "english", "1.0000"]


def test_replies_are_a_line_a_prompt_and_versions_differ_by_perplexities(project, tmp_path):
    asking = write_jsonl(tmp_path / "asking.jsonl", [{"text": "7 cat"}, {"text": "8 dog"}])
    lines = run("-C", project, "predict", asking).output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["meow", "woof"]
    versions = [entry.version for entry in Learner.open(project).log()]
    assert "the perplexity of" in run("-C", project, "diff", versions[1], versions[0]).output
    assert "no" not in run("-C", project, "verify").output.split()


def test_a_row_without_a_reply_is_named(project, tmp_path):
    rows = write_jsonl(tmp_path / "bad.jsonl", [{"text": "7 cat", "reply": None, "domain": "english"}])
    assert "the reply is missing" in run("-C", project, "update", rows, code=2).output


def test_a_served_model_replies(project):
    learner = Learner.open(project)
    slot = Slot(keep=1)
    slot.swap(load(learner.repository, learner.log()[0]))
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), ServeConfig())) as client:
        reply = client.post("/predict", json={"inputs": [f"5 {name}" for name in SOUNDS]})
    assert reply.status_code == 200
    assert [row["prediction"] for row in reply.json()["predictions"]] == list(SOUNDS.values())
