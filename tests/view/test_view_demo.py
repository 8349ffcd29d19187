"""``dripstone demo``."""

import itertools
import json
import random
from pathlib import Path

import pytest

from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.view.demo.story import Ruler
from dripstone.view.demo.stream import Stream
from learner_samples import blobs

pytest_plugins = ["view_fixtures"]

INTENTS = {
    "lost_card": "where card lost",
    "pay_bill": "pay bill now",
    "greet": "hello good morning",
    "clock": "what time it",
}
DOMAINS = {"bank": ["lost_card", "pay_bill"], "talk": ["greet", "clock"]}


def questions(words: str, count: int) -> list[str]:
    """Different questions of six words, each of which is one of three."""
    found = [" ".join(some) for some in itertools.product(words.split(), repeat=6)]
    return random.Random(0).sample(found, count)


@pytest.fixture
def clinc(tmp_path: Path) -> Path:
    """A small folder in the form of CLINC150."""
    splits: dict[str, list] = {"train": [], "val": [], "test": [], "oos_train": []}
    for intent, words in INTENTS.items():
        texts = questions(words, 170)
        for split, part in (("train", texts[:110]), ("val", texts[110:140]), ("test", texts[140:])):
            splits[split] += [[text, intent] for text in part]
    (tmp_path / "data_full.json").write_text(json.dumps(splits))
    (tmp_path / "domains.json").write_text(json.dumps(DOMAINS))
    return tmp_path


def test_digits(dripstone, monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    found = dripstone("demo", "digits", "--keep", tmp_path / "kept")
    assert found.code == 0, found.err
    assert "digits 8 and 9   promoted" in found.out
    assert "shuffled labels  refused" in found.out
    assert "the same bit for bit" in found.err
    assert ", 0 failed," in found.err
    assert max(map(len, found.out.splitlines() + found.err.splitlines())) <= 100
    assert dripstone("-C", tmp_path / "kept", "verify").code == 0
    again = dripstone("demo", "--keep", tmp_path / "kept")
    assert (again.code, again.out) == (2, "")
    assert "kept is a dripstone project already" in again.err


def test_text_with_a_small_encoder(dripstone, encoder_folder, clinc):
    found = dripstone("demo", "text", "--encoder", encoder_folder, "--data", clinc, "--format", "json")
    assert found.code == 0, found.err
    report = found.json()
    assert report.keys() == {"stages", "joint", "poison", "revert", "swap"}
    assert [row["stage"] for row in report["stages"]] == ["bank", "talk", "shuffled labels"]
    assert [row["verdict"] for row in report["stages"]] == ["promoted", "promoted", "refused"]
    assert report["poison"]["verdict"] == "refused"
    assert report["revert"]["same_bits"] is True
    assert report["swap"]["failed"] == 0
    assert report["stages"][1]["accuracy"] > 0.8


def test_text_needs_an_encoder_and_data(dripstone, clinc, tmp_path):
    for options in ([], ["--encoder", "x"], ["--data", clinc]):
        found = dripstone("demo", "text", *options)
        assert (found.code, found.out) == (2, "")
        assert "the text demo needs an encoder and data; give --encoder and --data" in found.err
    found = dripstone("demo", "text", "--encoder", "x", "--data", tmp_path / "gone")
    assert found.code == 2
    assert "gone/data_full.json cannot be read: No such file or directory" in found.err


@pytest.mark.parametrize("content", ["{", "[]", '{"train": []}', '{"train": [["only a text"]], "val": [], "test": []}'])
def test_text_names_a_file_that_is_not_clincs(dripstone, clinc, content):
    (clinc / "data_full.json").write_text(content)
    found = dripstone("demo", "text", "--encoder", "x", "--data", clinc)
    assert (found.code, found.out) == (2, "")
    assert "data_full.json is not CLINC150's: " in found.err


def test_text_names_an_encoder_that_is_none(dripstone, clinc, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "nothing").mkdir()
    found = dripstone("demo", "text", "--encoder", tmp_path / "nothing", "--data", clinc)
    assert (found.code, found.out) == (2, "")
    assert "nothing" in found.err
    assert "Traceback" not in found.err


def test_the_ruler_measures_each_version_by_its_own_features(tmp_path):
    rows = [{"input": row["inputs"], "label": row["label"]} for row in blobs(60, seed=0, spread=1.5)]
    model = mlp(inputs=2, hidden=[8, 8], random_features=16)
    learner = Learner.create(tmp_path / "project", model=model, input="input")
    ruler = Ruler(Stream("blobs", lambda: model, [], [], rows))
    for seed, selection in enumerate(["head", "full@sgd", "head", "full@sgd"]):
        new = [{"input": row["inputs"], "label": row["label"]} for row in blobs(40, seed=seed + 1)]
        update = learner.update(new, select=selection, gate="off", settings={"train.learning_rate": 0.1})
        assert update.verdict == "promoted"
        live = learner.predict([row["input"] for row in rows])
        assert ruler.answers(learner) == live
        right = [answer == row["label"] for answer, row in zip(live, rows, strict=True)]
        assert ruler.accuracy(learner, frozenset("ab")) == sum(right) / len(right)
