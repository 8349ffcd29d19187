"""The face for Python users."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from dripstone import project
from dripstone.core.config import FILE_NAME
from dripstone.core.errors import DataError, DripstoneError, ModelError, RaceLostError, UsageError
from dripstone.core.examples import holdout_hash
from dripstone.learner import Learner
from dripstone.models import mlp, text_classifier
from dripstone.models.factory import ModelSpec
from learner_samples import blobs, book_of, folder_hash, live_rows, make, own_net, relabelled, scores, trained

OWN = ModelSpec("learner_samples:own_net")


def test_a_new_project_knows_nothing_and_says_so(tmp_path):
    learner = make(tmp_path)
    assert [entry.event for entry in learner.log()] == ["init"]
    for ask in (lambda: learner.predict([[0, 0]]), lambda: learner.predict_scores([[0, 0]])):
        with pytest.raises(UsageError, match="knows no label yet"):
            ask()
    assert learner.evaluate(blobs(5, seed=0))["metrics"] == {
        "accuracy": 0.0,
        "by_slice": {"class a": 0.0, "class b": 0.0},
    }
    assert list(learner.repository.verify()) == []
    assert {path.name for path in learner.project.iterdir()} == {FILE_NAME, "store"}


def test_data_make_a_trained_first_version(tmp_path):
    learner = make(tmp_path, data=blobs(150, seed=0))
    entry = learner.log()[0]
    assert (entry.number, entry.event, entry.verdict) == (1, "init", "promoted")
    assert learner.predict([[2, 0], [1, 1.7]]) == ["a", "b"]
    trusted = learner.repository.read_state(entry.version).trusted
    assert len(trusted) == len(live_rows(learner, "held_out")) > 20
    assert learner.update(blobs(150, seed=0)).verdict == "unchanged"
    with pytest.raises(UsageError, match="no other version was ever live"):
        learner.revert()
    with pytest.raises(UsageError):
        learner.revert(learner.repository.manifest(entry.version).parent)


def test_held_out_rows_are_never_trained_on(tmp_path):
    holdout, data = blobs(40, seed=1), blobs(60, seed=0)
    learner = make(tmp_path, data=data + holdout[:20], holdout=holdout, settings={"gate.mode": "off"})
    keys = {holdout_hash(learner.repository.holdout_key, np.array(row["inputs"], np.float32)) for row in holdout}

    def trained_keys():
        rows = live_rows(learner, "train")
        return {holdout_hash(learner.repository.holdout_key, row.example().inputs) for row in rows}

    assert not keys & trained_keys()
    assert len(live_rows(learner, "held_out")) >= 80
    near = [{**row, "inputs": [x * (1 + 1e-7) for x in row["inputs"]], "id": f"n{i}"} for i, row in enumerate(holdout)]
    near += [{**row, "id": f"m{i}"} for i, row in enumerate(blobs(30, seed=2))]
    assert learner.update(near, settings={"task.id": "id"}).promoted
    assert learner.update(holdout + blobs(30, seed=3)).promoted
    assert not keys & trained_keys()


def test_bad_held_out_rows_are_left_out(tmp_path):
    bad = [{"inputs": [0, 0], "label": 3.5}, {"inputs": [0, 0, 0], "label": "a"}, {"inputs": [0, 0], "label": 7}]
    learner = make(tmp_path, data=blobs(60, seed=0), holdout=bad + blobs(10, seed=1))
    roles = [row.role for row in learner.repository.read_page(learner.log()[0].page).rows]
    assert roles.count("rejected") == 3
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == 140


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"data": []}, DataError),
        ({"data": [{"inputs": [0, 0]}]}, DataError),
        ({"data": [{"inputs": [0, 0], "label": None}]}, DataError),
        ({"data": [{"inputs": [0, 0, 0], "label": "a"}]}, DataError),
        ({"data": "nowhere.jsonl"}, DataError),
        ({"holdout": [{"inputs": [0, 0], "label": "a"}]}, UsageError),
        ({"data": blobs(5, 0), "holdout": []}, DataError),
        ({"task": "ranking"}, UsageError),
        ({"settings": {"gate.mode": "sleepy"}}, UsageError),
        ({"settings": {"no.such": 1}}, UsageError),
        ({"data": blobs(5, 0), "settings": {"select.selection": "suffix:9"}}, DripstoneError),
        ({"model": nn.Linear(2, 2)}, ModelError),
        ({"labels": ["a", "b"]}, ModelError),
        ({"model": own_net(), "spec": OWN, "labels": ["a"]}, ModelError),
        ({"model": own_net(), "spec": OWN, "labels": ["a", "a"]}, UsageError),
        ({"model": own_net(), "spec": OWN, "labels": ["a", 1]}, UsageError),
        ({"model": own_net(), "spec": OWN, "labels": [True, False]}, UsageError),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_create_leaves_nothing_behind(tmp_path, given, error, there):
    if there:
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "notes.txt").write_text("mine")
    before = folder_hash(tmp_path)
    with pytest.raises(error):
        make(tmp_path, **given)
    assert folder_hash(tmp_path) == before


def test_an_interrupted_create_leaves_nothing_behind(tmp_path, monkeypatch):
    for name in ("dripstone.project.run_first", "dripstone.project.load_champion", "dripstone.project.write_new"):
        with monkeypatch.context() as patch:
            patch.setattr(name, _interrupt)
            with pytest.raises(KeyboardInterrupt):
                make(tmp_path, data=blobs(60, seed=0))
        assert list(tmp_path.iterdir()) == []
    assert make(tmp_path, data=blobs(60, seed=0)).log()[0].number == 1


def _interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_nothing_is_overwritten(tmp_path):
    learner = make(tmp_path)
    before = folder_hash(tmp_path)
    with pytest.raises(UsageError, match="is a dripstone project already"):
        make(tmp_path)
    (learner.project / FILE_NAME).rename(tmp_path / "saved.toml")
    with pytest.raises(UsageError, match="is there already"):
        make(tmp_path)
    (tmp_path / "saved.toml").rename(learner.project / FILE_NAME)
    assert folder_hash(tmp_path) == before


def test_the_settings_are_kept_and_can_be_overridden(tmp_path):
    settings = {"gate.mode": "better", "store.path": "deep/down", "task.target": "class"}
    learner = Learner.create(tmp_path / "p", model=mlp(2, random_features=8), input=["x", "y"], settings=settings)
    assert (learner.project / "deep/down/format").exists()
    rows = [{"x": row["inputs"][0], "y": row["inputs"][1], "class": row["label"]} for row in blobs(20, seed=0)]
    assert learner.update(rows).examples.rejected == 0
    again = Learner.open(tmp_path / "p", {"gate.mode": "off"})
    assert (again.config.gate.mode, again.config.task.input) == ("off", ["x", "y"])
    assert again.config.model.factory == "dripstone.models:mlp"
    with pytest.raises(UsageError, match="not a dripstone project"):
        Learner.open(tmp_path)


def test_a_module_of_ones_own_keeps_its_output_layer(tmp_path):
    net = own_net(3)
    inputs = [row["inputs"] for row in blobs(30, seed=0, labels="abc")]
    learner = make(
        tmp_path, model=net, spec=ModelSpec("learner_samples:own_net", {"classes": 3}), labels=["a", "b", "c"]
    )
    with torch.no_grad():
        parts = torch.tensor(inputs, dtype=torch.float32).split(64)  # rows are scored in batches of 64
        expected = torch.cat([net(part) for part in parts])
    found = Learner.open(learner.project).predict_scores(inputs)
    best = [["a", "b", "c"][index] for index in expected.argmax(1).tolist()]
    assert [row["prediction"] for row in found] == best
    probabilities = torch.softmax(expected, 1).tolist()
    assert [list(row["scores"].values()) for row in found] == probabilities


def test_a_module_of_ones_own_learns_and_grows(tmp_path):
    settings = {"gate.mode": "off", "train.learning_rate": 0.05, "train.stop.epochs": 8}
    learner = make(tmp_path, settings, model=own_net(), spec=OWN, labels=["a", "b"])
    before = learner.log()
    with pytest.raises(UsageError, match="use head@adamw"):
        learner.update(blobs(60, seed=0), settings={"select.selection": "head@ridge"})
    assert learner.log() == before
    update = learner.update(blobs(60, seed=0, labels="abc"))
    assert (update.selection, update.promoted) == ("head@adamw", True)
    assert learner.champion().task.labels == ("a", "b", "c")
    assert learner.evaluate(blobs(30, seed=1, labels="abc"))["metrics"]["accuracy"] > 0.8
    full = learner.update(blobs(60, seed=2, labels="abc"), settings={"select.selection": "full"})
    assert full.examples.replayed > 0
    with pytest.raises(UsageError, match="use head@adamw"):
        learner.update(blobs(6, seed=4), settings={"select.selection": "head@ridge"})


def test_a_module_of_ones_own_starts_empty_without_labels(tmp_path):
    learner = make(tmp_path, model=own_net(), spec=OWN)
    assert learner.update(blobs(150, seed=0), select="head").selection == "head@ridge"
    assert learner.predict([[2, 0]]) == ["a"]


def test_integer_labels_stay_integers(tmp_path):
    rows = [{**row, "label": "ab".index(row["label"]) + 3} for row in blobs(150, seed=0)]
    learner = make(tmp_path)
    assert learner.update(rows).promoted
    assert Learner.open(learner.project).predict([[2, 0]]) == [3]


def test_predictions_have_a_probability_for_each_label(tmp_path):
    learner = trained(tmp_path)
    rows = learner.predict_scores([[2, 0], np.array([1, 1.7]), torch.tensor([2.0, 0.0])])
    assert [row["prediction"] for row in rows] == ["a", "b", "a"]
    assert all(sum(row["scores"].values()) == pytest.approx(1) for row in rows)
    assert learner.predict([]) == []
    for bad in (["text"], [[1, 2, 3]], [[0, float("inf")]], [object()]):
        with pytest.raises(DataError):
            learner.predict(bad)


def test_any_version_answers_by_its_first_digits(tmp_path):
    learner = trained(tmp_path)
    first = learner.log()[0].version
    learner.update(blobs(40, seed=1, labels="abc"), settings={"gate.mode": "off"})
    assert set(learner.predict_scores([[0, 0]], first[:8])[0]["scores"]) == {"a", "b"}
    assert learner.evaluate(blobs(5, seed=2), first[:8])["version"] == first
    assert len(learner.predict_scores([[0, 0]])[0]["scores"]) == 3
    for unknown in ("", "zz", "0" * 64):
        with pytest.raises(UsageError):
            learner.predict([[0, 0]], unknown)


def test_evaluate_counts_unknown_labels_as_wrong(tmp_path):
    trained(tmp_path)
    learner = Learner.open(tmp_path / "project", {"task.slice": "where"})
    rows = [{**row, "where": "eu" if i % 2 else None} for i, row in enumerate(blobs(50, seed=1))]
    rows += [{"inputs": [2, 0], "label": "z", "where": None}] * 10
    result = learner.evaluate(rows)
    assert result["examples"] == 110
    assert result["metrics"]["accuracy"] == pytest.approx(100 / 110)
    assert result["metrics"]["by_slice"]["class z"] == 0
    assert set(result["metrics"]["by_slice"]) == {"class a", "class b", "class z", "slice eu"}


@pytest.mark.parametrize("label", [None, 3.5, True, ["a"], {"a": 1}])
def test_evaluate_refuses_what_is_no_label(tmp_path, label):
    with pytest.raises(DataError, match=r"row 2: .* is no label"):
        trained(tmp_path).evaluate([{"inputs": [0, 0], "label": "a"}, {"inputs": [0, 0], "label": label}])


def test_two_learners_see_the_same_live_version(tmp_path):
    one = trained(tmp_path)
    two = Learner.open(one.project)
    before = scores(two)
    update = one.update(blobs(40, seed=1, labels="abc"), settings={"gate.mode": "off"})
    assert two.champion().version == update.version
    assert torch.equal(scores(two), scores(one))
    two.revert()
    assert torch.equal(scores(one), before)


def test_an_update_that_began_on_a_version_that_is_no_longer_live_loses(tmp_path):
    one = trained(tmp_path)
    events = one.update_events(blobs(30, seed=1))  # nothing has run yet
    winner = Learner.open(one.project).update(blobs(30, seed=2))
    with pytest.raises(RaceLostError):
        next(events)
    assert one.log()[0].version == winner.version


def test_settings_of_one_update_are_for_that_update(tmp_path):
    learner = trained(tmp_path)
    assert learner.update(relabelled(blobs(20, seed=1)), settings={"gate.mode": "off"}).promoted
    assert learner.config.gate.mode == "steady"
    with pytest.raises(UsageError, match="there is no setting"):
        learner.update(blobs(5, seed=2), settings={"gate.open": True})


def test_a_source_may_be_files(tmp_path):
    (tmp_path / "day.csv").write_text("inputs,label\n")
    learner = trained(tmp_path)
    with pytest.raises(DataError, match=r"day\.csv holds no rows"):
        learner.update(tmp_path / "day.csv")
    lines = "\n".join(f'{{"inputs": {row["inputs"]}, "label": "{row["label"]}"}}' for row in blobs(20, seed=1))
    (tmp_path / "day.jsonl").write_text(lines)
    assert learner.update([tmp_path / "day.jsonl"]).examples.received == 40
    origins = {row.origin for row in learner.repository.read_page(learner.log()[0].page).rows}
    assert "day.jsonl:1" in origins


def texts(count):
    rows = []
    for number in range(count):
        filler = ["please", "now", "yes", "no", "good", "my", "old", "new"][number % 8]
        more = ["i", "you", "to", "the", "on", "it"][number % 6]
        for label, words in (("card", "where is my card lost"), ("money", "how much money on account")):
            rows.append({"text": f"{filler} {more} {words} {number}", "label": label})
    return rows


def test_a_text_model_needs_neither_hub_nor_the_folder_it_came_from(tmp_path, encoder_folder, monkeypatch):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    model = text_classifier(encoder=str(folder), max_length=32, random_features=64)
    learner = Learner.create(tmp_path / "intent", model=model, settings={"gate.mode": "off"})
    assert learner.update(texts(20)).promoted
    # The holdout key is random; of twelve greetings some are sure to be learned.
    greetings = [{"text": f"good morning to you {number}", "label": "hello"} for number in range(12)]
    assert learner.update([*greetings, *texts(8)]).promoted
    questions = [row["text"] for row in texts(20)]
    before = learner.predict_scores(questions)
    shutil.rmtree(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = Learner.open(tmp_path / "intent")
    assert again.predict_scores(questions) == before
    right = [row["prediction"] == known["label"] for row, known in zip(before, texts(20), strict=True)]
    assert sum(right) > 30
    assert again.update(texts(30)).promoted
    assert book_of(again).pending == []


def test_losing_a_race_to_make_a_project_leaves_the_winners_alone(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    first_version = project._first_version

    def overtaken(*arguments):
        first_version(*arguments)
        monkeypatch.setattr(project, "_first_version", first_version)
        make(tmp_path)  # the winner, from start to end

    monkeypatch.setattr(project, "_first_version", overtaken)
    with pytest.raises(RaceLostError, match="somebody else made a project"):
        Learner.create(folder, model=mlp(inputs=2, random_features=64))
    assert Learner.open(folder).update(blobs(100, seed=0)).promoted
    assert sorted(path.name for path in folder.iterdir()) == ["dripstone.toml", "store"]


def test_an_interrupted_creation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(project, "_first_version", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Learner.create(tmp_path / "a" / "project", model=mlp(inputs=2, random_features=64))
    assert not (tmp_path / "a" / "project").exists()


def test_a_source_of_any_length_is_learned_in_several_updates(tmp_path):
    learner = make(tmp_path)
    drawn = []

    def source():
        for row in blobs(150, seed=0):
            drawn.append(row)
            yield row

    updates = learner.updates(source(), rows=120)
    first = next(updates)
    assert (first.verdict, first.examples.received, len(drawn)) == ("promoted", 120, 120)
    assert [update.examples.received for update in updates] == [120, 60]
    assert len(drawn) == 300
    assert [entry.number for entry in learner.log()] == [4, 3, 2, 1]


def test_what_several_updates_have_committed_stays(tmp_path):
    learner = make(tmp_path)
    rows = [*blobs(60, seed=0), {"label": "a"}]
    updates = learner.updates(rows, rows=120)
    live = next(updates).version
    with pytest.raises(DataError, match="row 121 has no column 'inputs'"):
        next(updates)
    assert learner.log()[0].version == live


@pytest.mark.parametrize("rows", [0, -1])
def test_an_update_has_a_row(tmp_path, rows):
    with pytest.raises(UsageError, match="give at least 1"):
        next(make(tmp_path).updates(blobs(5, seed=0), rows=rows))
