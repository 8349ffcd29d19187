"""``dripstone grow`` on the command line."""

import json
import shutil

import pytest
from view_samples import blobs, live, write_csv

from dripstone.store.repository import Repository
from text_samples import make_texts, stories

pytest_plugins = ["view_fixtures"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    learner = make_texts(tmp_path_factory.mktemp("grow"))
    assert learner.update(stories(60, 0), gate="off").promoted
    return learner.project


@pytest.fixture
def texts(taught, tmp_path, monkeypatch):
    shutil.copytree(taught, tmp_path / "p")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "p"


def test_a_model_grows_and_learns_on(texts, dripstone):
    found = dripstone("-C", "p", "grow", "--depth", "+2")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(f"version {live(texts)[:12]} is live: 61,792 parameters in place of 35,040, ")
    assert found.out.endswith(" bytes stored; it answers as before\n")
    log = dripstone("-C", "p", "log", "-n", "1")
    assert "grow" in log.out
    assert "2 blocks added, which change no answer" in log.out
    shown = dripstone("-C", "p", "show").out
    assert "depth+2" in shown
    assert "which it was grown from: 2 blocks added" in shown
    assert "vouched for  version " in dripstone("-C", "p", "status").out
    assert dripstone("-C", "p", "verify").code == 0
    (texts / "more.jsonl").write_text("\n".join(map(json.dumps, stories(60, 1))))
    options = ["--select", "grown", "--gate", "off", "--format", "json"]
    update = dripstone("-C", "p", "update", "p/more.jsonl", *options).json()
    assert (update["selection"], update["parameters"]["trained"]) == ("grown@adamw", 26_752)
    assert dripstone("-C", "p", "revert").code == 0
    assert dripstone("-C", "p", "verify").code == 0


def test_growing_speaks_json_or_nothing(texts, dripstone):
    before = live(texts)
    found = dripstone("-C", "p", "grow", "--ffn", "+8", "--depth", "1", "--format", "json").json()
    assert found.keys() == {"number", "version", "event", "reason", "parameters", "delta_bytes"}
    assert (found["number"], found["version"], found["event"]) == (3, live(texts), "grow")
    assert found["parameters"]["before"] == 35_040
    assert found["parameters"]["after"] > 35_040
    assert found["delta_bytes"] > 1000
    changed = dripstone("-C", "p", "diff", before, "--format", "json").json()["tensors"]
    assert {row["name"].split(".")[2] for row in changed} == {"0", "1", "2"}
    assert dripstone("-C", "p", "diff", "live", before).code == 0
    quiet = dripstone("-C", "p", "grow", "--ffn", "8", "--format", "quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "there is nothing to grow by; give depth, ffn or both"),
        (["--depth", "0"], "0 is not in the range x>=1"),
        (["--ffn", "-8"], "-8 is not in the range x>=1"),
        (["--depth", "two"], "'two' is not a valid integer range"),
        (["--depth", "+1.5"], "'+1.5' is not a valid integer"),
        (["--depth", "+999"], "1,001 blocks are more than the 256"),
    ],
)
def test_bad_amounts(texts, dripstone, options, words):
    found = dripstone("-C", "p", "grow", *options)
    assert found.code == 2
    assert words in found.err
    assert found.out == ""
    assert Repository.open(texts / "store").log.last() == 2


def test_another_model_does_not_grow(project, dripstone):
    found = dripstone("-C", project, "grow", "--depth", "+1")
    assert found.code == 2
    assert "what dripstone.models:mlp makes cannot grow" in found.err
    assert "make a project with a larger model" in found.err
    found = dripstone(
        "-C", project, "update", write_csv(project.parent / "d.csv", blobs(20, "a", 3)), "--select", "grown"
    )
    assert found.code == 2
    assert "the model has not grown" in found.err
    assert dripstone("-C", project, "log", "-n", "1", "--format", "json").json()[0]["event"] == "update"
