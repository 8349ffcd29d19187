"""Texts on the command line and over HTTP: what is learned, measured, written, compared."""

from __future__ import annotations

import json
import math

import pytest
from starlette.testclient import TestClient
from view_samples import run, write_jsonl

from dripstone.core.config import ServeConfig
from dripstone.learner import Learner
from dripstone.serve.app import make_app
from dripstone.serve.batcher import Batcher
from dripstone.serve.follow import load
from dripstone.serve.slot import Slot
from dripstone.view.demo import language
from dripstone.view.demo.sources import LONGEST, SHORTEST, read_library
from dripstone.view.output import Output
from text_samples import REPLIES, exchanges, stories, sums

MODEL = [
    "--model", "dripstone.models:decoder", "--model-arg", "tokenizer=bytes", "--model-arg", "width=32",
    "--model-arg", "depth=2", "--model-arg", "heads=2", "--model-arg", "context=64", "--task", "causal_lm",
    "--set", "train.learning_rate=0.01", "--set", "train.batch_size=4", "--set", "train.stop.epochs=3",
    "--set", "gate.minimum=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """It has learned stories, then sums."""
    folder = tmp_path_factory.mktemp("texts")
    made = run("init", folder / "p", *MODEL, "--set", "task.slice=domain")
    assert "it knows no text yet" in made.output
    for name, rows in (("stories", stories(200, seed=1)), ("sums", sums(200, seed=1))):
        found = run("-C", folder / "p", "update", write_jsonl(folder / f"{name}.jsonl", rows))
        assert "perplexity" in found.output
        assert "accuracy" not in found.output
    return folder / "p"


@pytest.fixture(scope="module")
def replying(tmp_path_factory):
    """It replies to prompts."""
    folder = tmp_path_factory.mktemp("replies")
    rows = write_jsonl(folder / "rows.jsonl", exchanges(300, seed=1))
    passes = ["--set", "train.stop.epochs=6"]
    run("init", folder / "p", *MODEL, *passes, "--input", "text", "--target", "reply", "--data", rows)
    return folder / "p"


@pytest.fixture
def client(replying):
    learner = Learner.open(replying)
    slot = Slot(keep=1)
    slot.swap(load(learner.repository, learner.log()[0]))
    with TestClient(make_app(slot, Batcher(slot, 4, 1.0), ServeConfig())) as client:
        yield client


def test_texts_are_measured_by_domain(project, tmp_path):
    test = write_jsonl(tmp_path / "test.jsonl", [*stories(20, seed=9), *sums(20, seed=9)])
    lines = run("-C", project, "evaluate", test).output.splitlines()
    assert lines[0].startswith("perplexity ")
    assert ", bits_per_byte " in lines[0]
    assert lines[2].split() == ["slice", "perplexity"]
    assert [line.split()[:2] for line in lines[3:]] == [["slice", "animals"], ["slice", "sums"]]
    assert json.loads(run("-C", project, "status", "--format", "json").output)["labels"] == 1


def test_what_a_version_writes_is_a_line_a_prompt(project, tmp_path):
    asked = write_jsonl(tmp_path / "asked.jsonl", [{"text": "the cat"}, {"text": "the dog sees"}])
    lines = run("-C", project, "predict", asked).output.splitlines()
    assert len(lines) == 2
    assert all(float(line.rsplit("\t", 1)[1]) < 0 for line in lines)
    answers = [
        json.loads(line) for line in run("-C", project, "predict", asked, "--format", "json").output.splitlines()
    ]
    assert set(answers[0]["scores"]) == {"log_probability", "tokens", "ended"}


def test_two_versions_differ_by_perplexities(project):
    versions = [entry.version for entry in Learner.open(project).log()]
    shown = run("-C", project, "diff", versions[1], versions[0]).output
    assert "the perplexity of" in shown
    assert "rose, by more than 2 %" in shown
    found = json.loads(run("-C", project, "diff", versions[1], versions[0], "--format", "json").output)
    assert found["flips"]["kind"] == "causal_lm"
    changed = [flip for flip in found["flips"]["flipped"] if flip["old"] is not None]
    assert all(abs(math.log(flip["new"] / flip["old"])) > 0.019 for flip in changed)
    assert "no" not in run("-C", project, "verify").output.split()


def test_replies_are_shown_as_texts(replying, tmp_path):
    shown = run("-C", replying, "show", "live", "--examples").output
    assert "meow" in shown
    assert "Reply(" not in shown
    rows = json.loads(run("-C", replying, "show", "live", "--examples", "--format", "json").output)["examples"]
    assert {row["target"] for row in rows} <= set(REPLIES.values())
    wrong = [{**row, "reply": "moo"} for row in exchanges(40, seed=7)]
    run("-C", replying, "update", write_jsonl(tmp_path / "wrong.jsonl", wrong), code=1)
    listed = run("-C", replying, "data", "list").output
    assert "moo" in listed
    assert {row["target"] for row in json.loads(run("-C", replying, "data", "list", "--format", "json").output)} == {
        "moo"
    }
    found = run("-C", replying, "evaluate", write_jsonl(tmp_path / "test.jsonl", exchanges(20, seed=8))).output
    assert "exact_match 1.0000" in found


def test_a_served_model_replies(client):
    reply = client.post("/predict", json={"inputs": [f"5: what does the {noun} say?" for noun in REPLIES]})
    assert reply.status_code == 200
    assert [row["prediction"] for row in reply.json()["predictions"]] == list(REPLIES.values())
    assert reply.headers["x-model-version"]


def test_a_served_model_refuses_what_is_no_text(client):
    reply = client.post("/predict", json={"inputs": [[1.0, 2.0]]})
    assert reply.status_code == 400
    assert "the model takes text" in reply.json()["error"]["message"]


def test_a_reply_that_is_missing_makes_a_document_and_a_number_is_named(replying, tmp_path):
    rows = write_jsonl(tmp_path / "bad.jsonl", [{"text": "what?", "reply": 5}, {"text": "", "reply": "a"}])
    done = run("-C", replying, "update", rows, code=2)
    assert "the reply is of type int, not a text" in done.output
    assert "the text is empty" in done.output


def test_the_library_is_cut_into_code_and_prose():
    library = read_library(code=20_000, prose=5_000)
    assert read_library(code=20_000, prose=5_000).code == library.code
    for rows, characters, domain in ((library.code, 20_000, "code"), (library.prose, 5_000, "prose")):
        assert {row["domain"] for row in rows} == {domain}
        assert all(SHORTEST <= len(row["text"]) <= LONGEST for row in rows)
        assert characters <= sum(len(row["text"]) for row in rows) < characters + LONGEST
    assert sum(row["text"].startswith(("def ", "@")) for row in library.code) > 0.9 * len(library.code)
    assert not any('"""' in row["text"].split("\n")[1] for row in library.code if "\n" in row["text"])


@pytest.mark.slow
def test_the_demo_tells_its_story(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(language, "CODE", 60_000)
    monkeypatch.setattr(language, "PROSE", 60_000)
    monkeypatch.setattr(language, "TESTED", 5_000)
    monkeypatch.setattr(language, "SETTINGS", {**language.SETTINGS, "gate.minimum": 10})
    found = language.tell(0, tmp_path / "kept", Output("human"))
    assert found["same_bits"]
    assert [row["verdict"] for row in found["stages"]][::2] == ["promoted", "promoted"]
    assert found["perplexity"]["after"]["prose"] < found["perplexity"]["before"]["prose"]
    assert list(Learner.open(tmp_path / "kept").repository.verify()) == []
    shown = capsys.readouterr().out
    assert "perplexity on texts it has not seen" in shown
    assert max(map(len, shown.splitlines())) <= 110
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]
