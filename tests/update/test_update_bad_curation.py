"""Input that curation cannot do anything with: what is said, and that store, champion and log are as before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.config import dump_config
from dripstone.core.errors import UsageError
from dripstone.curate.dedupe import CONFLICT, EXACT
from dripstone.curate.noise import REASON
from dripstone.learner import Learner
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.models.factory import ModelSpec
from dripstone.view.cli import main
from learner_samples import blobs, book_of, folder_hash, live_rows, make, quarantined, scores, trained

ASKING = "screen+dedupe+noise+weight+replay:50:balanced"
POLICIES = ["screen", "screen:known", "screen+drift", ASKING, "screen+weight+noise:weigh+dedupe+replay:50:herding"]


class Kept:
    """The store, the live version and its training state as they are, to be compared with what they are later."""

    def __init__(self, learner: Learner) -> None:
        self.project = learner.project
        self.number = learner.log()[0].number
        self.before = self.look(learner)

    @staticmethod
    def look(learner: Learner) -> tuple[str, str, list[str], list]:
        live = learner.repository.log.head().version
        states = learner.repository.path / "training/state"
        return live, folder_hash(states), learner.repository.versions(), quarantined(learner)

    def check(self, *, pending: int) -> None:
        """The log has one entry more, so many rows wait, and nothing else has moved."""
        learner = Learner.open(self.project)
        assert self.look(learner) == self.before
        assert len(book_of(learner).pending) == pending
        assert learner.log()[0].number == self.number + 1
        assert list(learner.repository.verify()) == []


def started(tmp_path: Path, policy: str, settings: dict | None = None, **given) -> Learner:
    """A learner that has learned two blobs under a policy."""
    learner = make(tmp_path, {"curate.policy": policy, **(settings or {})}, **given)
    assert learner.update(blobs(150, seed=0), gate="off").promoted
    return learner


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """A command in this process: its exit code, stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


BAD = [
    ({"inputs": [0.0, float("nan")], "label": "a"}, "the input holds NaN or infinity"),
    ({"inputs": [0.0], "label": "a"}, "the input has shape [1] where this model takes [2]"),
    ({"inputs": "where is my card", "label": "a"}, "the input is a text where this model takes numbers"),
    ({"inputs": [0.0, 1.0], "label": None}, "the label is missing"),
    ({"inputs": [0.0, 1.0], "label": 3}, "the label is an integer where this model's labels are strings"),
    ({"inputs": [1e6, 1.0], "label": "a"}, "column 1 of the input is far from what the first rows had"),
    ({"inputs": [0.0, -1e6], "label": "a"}, "column 2 of the input is far from what the first rows had"),
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("bad", "words"), BAD, ids=[words for _, words in BAD])
def test_a_batch_that_is_all_rejected(tmp_path, policy, bad, words):
    learner = started(tmp_path, policy)
    kept, before = Kept(learner), scores(learner)
    update = learner.update([bad, {"inputs": [1.0, float("inf")], "label": "b"}])
    assert (update.verdict, update.version) == ("undecided", None)
    assert update.reason.startswith(f"all 2 rows were rejected; row 1: {words}")
    assert (update.examples.rejected, sum(update.rejections.values()), len(update.rejections)) == (
        2,
        2,
        2 - ("NaN" in words),
    )
    kept.check(pending=0)
    assert torch.equal(scores(learner), before)
    assert learner.update(blobs(50, seed=1), gate="off").promoted


@pytest.mark.parametrize("policy", POLICIES)
def test_a_first_batch_that_is_all_rejected(tmp_path, policy):
    learner = make(tmp_path, {"curate.policy": policy})
    kept = Kept(learner)
    update = learner.update([{"inputs": [0.0, float("nan")], "label": "a"}])
    assert update.reason == "all 1 rows were rejected; row 1: the input holds NaN or infinity"
    kept.check(pending=0)
    assert learner.update(blobs(50, seed=1), gate="off").promoted


def test_a_batch_of_nothing_but_duplicates(tmp_path):
    learner = make(tmp_path, {"curate.policy": ASKING, "task.id": "id"})
    rows = [{**row, "id": f"first-{i}"} for i, row in enumerate(blobs(100, seed=0))]
    assert learner.update(rows, gate="off").promoted
    kept = Kept(learner)
    update = learner.update([{**row, "id": f"again-{i}"} for i, row in enumerate(rows)])
    assert update.verdict == "undecided"
    assert update.reason == f"all 200 rows were rejected; row 1: {EXACT}"
    assert update.rejections[EXACT] > 190  # the others are near duplicates, and were none of the first rows
    assert sum(update.rejections.values()) == update.examples.rejected == 200
    kept.check(pending=0)


def test_a_batch_of_nothing_but_conflicts(tmp_path):
    learner = make(tmp_path, {"curate.policy": ASKING, "task.id": "id"})
    rows = blobs(30, seed=0, labels="a")
    both = [{**row, "id": f"{label}-{i}", "label": label} for i, row in enumerate(rows) for label in "ab"]
    kept = Kept(learner)
    update = learner.update(both)
    assert update.reason == f"all 60 rows were rejected; row 1: {CONFLICT}"
    assert update.rejections == {CONFLICT: 60}
    kept.check(pending=0)


@pytest.mark.parametrize("policy", ["screen+noise", ASKING])
@pytest.mark.parametrize("gate", ["off", "steady", "better"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_labels_that_are_all_left_out_wait(tmp_path, policy, gate, first, monkeypatch):
    learner = make(tmp_path, {"curate.policy": policy}) if first else started(tmp_path, policy)
    rows = blobs(40, seed=1)
    kept = Kept(learner)
    with monkeypatch.context() as patch:
        patch.setattr("dripstone.update.curation.wrong_label_probabilities", lambda _, targets: np.ones(len(targets)))
        update = learner.update(rows, gate=gate)
    left_out = update.rejections[REASON]
    assert (update.verdict, update.version, update.examples.trained) == ("undecided", None, 0)
    assert update.reason == f"all {left_out} rows to learn from were left out; {REASON}"
    waiting = 80 - (update.examples.rejected - left_out)
    assert left_out + update.examples.held_out == waiting > 70
    kept.check(pending=waiting)
    assert learner.update(rows).verdict == "unchanged"
    better = learner.update(blobs(200, seed=2), gate="off")  # with others beside them, they are looked at again
    assert better.promoted
    assert better.examples.trained + better.examples.held_out > 400
    assert book_of(learner).pending == []


@pytest.mark.parametrize("policy", POLICIES)
def test_one_class_only(tmp_path, policy):
    learner = make(tmp_path, {"curate.policy": policy})
    first = learner.update(blobs(100, seed=0, labels="a"), gate="off")
    assert first.promoted
    assert first.rejections == {}
    assert {row.factor for row in live_rows(learner, "train")} == {1.0}
    assert learner.update(blobs(60, seed=1, labels="a"), gate="off").promoted
    assert learner.predict([row["inputs"] for row in blobs(3, seed=9, labels="a")]) == ["a"] * 3
    other = learner.update(blobs(60, seed=2, labels="b"))
    if "known" in policy:
        assert other.reason.startswith("all 60 rows were rejected; row 1: the label is not one that the model knows")
    else:
        assert other.new_labels == ["b"]


@pytest.mark.parametrize("policy", POLICIES)
def test_rows_with_a_negative_weight_are_rejected_alone(tmp_path, policy):
    learner = started(tmp_path, policy)
    rows = [{**row, "w": -1.0 if i < 10 else 1.0} for i, row in enumerate(blobs(50, seed=1))]
    settings = {"task.weight": "w", "gate.mode": "off"}
    update = learner.update(rows, settings=settings)
    assert update.promoted
    assert update.rejections["the weight is negative or not finite"] == 10
    kept = Kept(learner)
    update = learner.update([{**row, "w": -1.0} for row in blobs(5, seed=2)], settings=settings)
    assert update.reason == "all 10 rows were rejected; row 1: the weight is negative or not finite"
    kept.check(pending=0)


@pytest.mark.parametrize("policy", ["screen", "screen+weight", "screen+noise:weigh+weight", ASKING])
@pytest.mark.parametrize("select", ["head@ridge", "head@adamw", "full@sgd"])
@pytest.mark.parametrize("gate", ["off", "steady"])
def test_rows_that_all_weigh_nothing_wait(tmp_path, policy, select, gate):
    learner = started(tmp_path, policy, model=mlp(2, (8,), 64))
    settings = {"task.weight": "w", "gate.mode": gate, "select.selection": select, "train.stop.epochs": 1}
    kept = Kept(learner)
    update = learner.update([{**row, "w": 0.0} for row in blobs(30, seed=1)], settings=settings)
    assert (update.verdict, update.version) == ("undecided", None)
    assert update.reason == "every row to learn from has weight 0; give some of them a weight above 0"
    kept.check(pending=60 - update.examples.rejected)
    later = learner.update([{**row, "w": 1.0} for row in blobs(30, seed=2)], settings={**settings, "gate.mode": "off"})
    assert later.promoted
    assert book_of(learner).pending == []


@pytest.mark.parametrize("policy", ["screen+weight", "screen+noise:weigh"])
def test_first_rows_that_all_weigh_nothing_wait(tmp_path, policy):
    learner = make(tmp_path, {"curate.policy": policy, "task.weight": "w"})
    kept = Kept(learner)
    update = learner.update([{**row, "w": 0} for row in blobs(30, seed=1)])
    assert update.reason == "every row to learn from has weight 0; give some of them a weight above 0"
    kept.check(pending=60)


# Policies that cannot be.

WRONG = [
    ("replay:5", "curation 'replay:5' does not start with screen; write screen+replay:2000"),
    ("screen+noise+noise:weigh", "noise and noise:weigh exclude each other in curation 'screen+noise+noise:weigh'; "),
    ("screen:known+screen", "screen:known and screen exclude each other in curation"),
    ("screen+replay:5+replay:5:herding", "replay:5 and replay:5:herding exclude each other in curation"),
    ("screen+dedup", "there is no curation policy 'dedup'; use screen, dedupe,"),
    ("screen+noise:drop", "there is no curation policy 'noise:drop'; use noise, noise:weigh"),
    ("screen+replay", "there is no curation policy 'replay'; use replay:N, replay:N:balanced, replay:N:herding"),
    ("screen+forget", "there is no curation policy 'forget'; use forget:N"),
    ("screen+forget:0", "there is no curation policy 'forget:0'; use forget:N"),
    ("screen+forget:9+forget:8", "forget:9 and forget:8 exclude each other in curation"),
    ("screen+prune:2", "there is no curation policy 'prune:2'; use prune, prune:SHARE"),
    ("screen+augment:paint", "there is no curation policy 'augment:paint'; use augment, augment:drop"),
    ("screen+prune", "prune:0.5 acts in the epochs of the loop, and ladder learns in closed form; use a selection"),
    ("screen+augment", "augment acts in the epochs of the loop, and ladder learns in closed form; use a selection"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "words"), WRONG, ids=[policy for policy, _ in WRONG])
def test_policies_that_cannot_be(tmp_path, capsys, policy, words):
    learner = trained(tmp_path)
    file = write(tmp_path / "rows.jsonl", blobs(20, seed=1))
    before = folder_hash(learner.project)
    with pytest.raises(UsageError) as caught:
        learner.update(blobs(20, seed=1), curate=policy)
    assert str(caught.value).startswith(words)
    code, out, err = cli(capsys, "-C", learner.project, "update", file, "--curate", policy)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert folder_hash(learner.project) == before


LOOP = [
    ("screen+prune", "head@ridge", "prune:0.5 acts in the epochs of the loop, and head@ridge learns in closed form"),
    ("screen+prune:infobatch", "head", "prune:infobatch:0.5 acts in the epochs of the loop, and head@ridge learns"),
    ("screen+augment:jitter", "ladder", "augment:jitter acts in the epochs of the loop, and ladder learns in closed"),
    (
        "screen+augment:shift",
        "suffix:1",
        "augment:shift does not suit this model, which takes tables; use augment:jitter",
    ),
    (
        "screen+augment:drop",
        "full@sgd",
        "augment:drop does not suit this model, which takes tables; use augment:jitter",
    ),
]


@pytest.mark.parametrize(("policy", "select", "words"), LOOP, ids=[f"{one} {two}" for one, two, _ in LOOP])
def test_policies_of_the_loop_that_have_no_loop_or_another_input(tmp_path, capsys, policy, select, words):
    learner = make(tmp_path, model=mlp(2, (8,), 64))
    file = write(tmp_path / "rows.jsonl", blobs(20, seed=1))
    before = folder_hash(learner.project)
    with pytest.raises(UsageError) as caught:
        learner.update(blobs(20, seed=1), curate=policy, select=select)
    assert str(caught.value).startswith(words)
    assert caught.value.remedy
    code, out, err = cli(capsys, "-C", learner.project, "update", file, "--curate", policy, "--select", select)
    assert (code, out) == (2, "")
    assert words in err
    assert folder_hash(learner.project) == before


def test_a_policy_that_cannot_be_in_the_settings_is_said_with_the_first_rows(tmp_path):
    with pytest.raises(UsageError, match="there is no curation policy 'dedup'"):
        make(tmp_path, {"curate.policy": "screen+dedup"}, data=blobs(20, seed=0))
    assert not (tmp_path / "project/store").exists()


def test_a_model_with_an_output_layer_of_its_own_trains_in_the_loop_where_the_ladder_is_asked_for(tmp_path):
    """There is no closed form for it, so that policies of the loop have one."""
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    spec = ModelSpec("learner_samples:own_net")
    learner = make(tmp_path, {"gate.mode": "off"}, model=model, spec=spec, labels=["a", "b"])
    assert learner.update(blobs(50, seed=0), curate="screen+prune+augment").promoted


# Inputs of another kind.


def text_learner(folder: Path, encoder: Path, policy: str) -> Learner:
    settings = {"curate.policy": policy, "gate.mode": "off", "select.selection": "head"}
    return make(folder, settings, model=text_classifier(str(encoder), max_length=16, random_features=32), input="input")


def picture_learner(folder: Path, policy: str) -> Learner:
    settings = {"curate.policy": policy, "gate.mode": "off", "select.selection": "head"}
    model = image_classifier((8, 8), channels=(4, 8), random_features=32)
    return make(folder, settings, model=model, input="input")


def texts(count: int, seed: int = 0) -> list[dict]:
    words = {"a": ["where", "is", "my", "card", "lost", "block"], "b": ["i", "want", "to", "pay", "the", "bill"]}
    draw = np.random.default_rng(seed)
    return [{"input": " ".join(draw.choice(words[one], 7)), "label": one} for _ in range(count) for one in "ab"]


def pictures(count: int, seed: int = 0) -> list[dict]:
    draw = np.random.default_rng(seed)
    shift = {"a": np.eye(8), "b": np.eye(8)[::-1]}
    return [
        {"input": (shift[one] + draw.normal(0, 0.2, (8, 8))).tolist(), "label": one}
        for _ in range(count)
        for one in "ab"
    ]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_an_image_among_texts_and_a_text_among_images(tmp_path, encoder_folder, policy, first):
    for learner, make_rows, other, words in (
        (
            text_learner(tmp_path / "t", encoder_folder, policy),
            texts,
            pictures(1)[0],
            "the input is a list of numbers where this model takes a text",
        ),
        (
            picture_learner(tmp_path / "p", policy),
            pictures,
            texts(1)[0],
            "the input is a text where this model takes numbers",
        ),
    ):
        if not first:
            assert learner.update(make_rows(40)).promoted
        update = learner.update([other, *make_rows(40, seed=1)])
        assert update.promoted
        assert update.rejections[words] == 1
        kept = Kept(learner)
        alone = learner.update([other])
        assert alone.reason == f"all 1 rows were rejected; row 1: {words}"
        kept.check(pending=0)


AUGMENT = [("shift", "texts", "drop, augment:mask"), ("jitter", "texts", "drop, augment:mask")]


@pytest.mark.parametrize(("name", "kind", "instead"), AUGMENT)
def test_changes_that_do_not_suit_texts(tmp_path, encoder_folder, name, kind, instead):
    learner = text_learner(tmp_path, encoder_folder, "screen")
    before = folder_hash(learner.project)
    with pytest.raises(UsageError) as caught:
        learner.update(texts(10), curate=f"screen+augment:{name}", select="head@adamw")
    assert str(caught.value) == f"augment:{name} does not suit this model, which takes {kind}; use augment:{instead}"
    assert caught.value.kind == "usage.augment"
    assert folder_hash(learner.project) == before


@pytest.mark.parametrize("name", ["drop", "mask", "jitter"])
def test_changes_that_do_not_suit_pictures(tmp_path, name):
    learner = picture_learner(tmp_path, "screen")
    before = folder_hash(learner.project)
    with pytest.raises(
        UsageError, match=f"augment:{name} does not suit this model, which takes pictures; use augment:shift"
    ):
        learner.update(pictures(10), curate=f"screen+augment:{name}", select="suffix:1@sgd")
    assert folder_hash(learner.project) == before


ODD_TEXTS = [
    ("x" * 1_000_001, "the text is longer than 1,000,000 characters"),
    ("x " * 1001, "the text is longer than 2,000 characters, where the first rows had "),
    ("\ufffd\ufffd\ufffd where", "the text is not readable: control characters, or bytes in another encoding"),
    ("\x01\x02 is my card", "the text is not readable: control characters, or bytes in another encoding"),
    (" \n\t", "the text is empty"),
    ("where \ud800", "the text holds half a character (a lone surrogate)"),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_texts_that_nobody_should_learn_from(tmp_path, encoder_folder, policy):
    learner = text_learner(tmp_path, encoder_folder, policy)
    assert learner.update(texts(40)).promoted
    odd = [{"input": text, "label": "a"} for text, _ in ODD_TEXTS]
    kept = Kept(learner)
    update = learner.update(odd)
    assert update.reason == f"all 6 rows were rejected; row 1: {ODD_TEXTS[0][1]}"
    kept.check(pending=0)
    assert all(any(reason.startswith(words) for reason in update.rejections) for _, words in ODD_TEXTS)
    among = learner.update([*odd, *texts(40, seed=1)])
    assert among.promoted
    assert (
        sum(count for reason, count in among.rejections.items() if any(reason.startswith(w) for _, w in ODD_TEXTS)) == 6
    )


def test_pictures_out_of_range(tmp_path):
    learner = picture_learner(tmp_path, ASKING)
    assert learner.update(pictures(60)).promoted
    dark = {"input": np.full((8, 8), -999.0).tolist(), "label": "a"}
    kept = Kept(learner)
    update = learner.update([dark])
    words = "all 1 rows were rejected; row 1: a value of the input is far from what the first rows had"
    assert update.reason.startswith(words)
    kept.check(pending=0)


def test_rows_out_of_range_on_the_command_line(tmp_path, capsys):
    learner = started(tmp_path, ASKING)
    (learner.project / "dripstone.toml").write_text(dump_config(learner.config))
    file = write(tmp_path / "rows.jsonl", [{"inputs": [1e9, 0.0], "label": "a"}])
    kept = Kept(learner)
    code, out, err = cli(capsys, "-C", learner.project, "update", file, "--format", "json")
    assert code == 2
    assert "rows.jsonl:1: column 1 of the input is far from what the first rows had" in json.loads(out)["reason"]
    assert "1 row rejected: column 1 of the input is far from what the first rows had" in err
    kept.check(pending=0)


# Labels that are not known.


def test_new_labels_where_only_known_ones_may_come(tmp_path, capsys):
    learner = started(tmp_path, "screen:known+noise")
    unknown = "the label is not one that the model knows (screen:known)"
    update = learner.update([*blobs(50, seed=1), *blobs(30, seed=2, labels="c")], gate="off")
    assert update.promoted
    assert (update.new_labels, update.rejections[unknown]) == ([], 30)
    file = write(tmp_path / "rows.jsonl", blobs(30, seed=3, labels="c"))
    kept = Kept(learner)
    code, _, err = cli(capsys, "-C", learner.project, "update", file)
    assert code == 2
    assert f"30 rows rejected: {unknown}" in err
    kept.check(pending=0)
    allowed = learner.update(blobs(60, seed=3, labels="c"), curate="screen", gate="off")
    assert allowed.new_labels == ["c"]


def test_a_first_batch_may_have_any_label(tmp_path):
    learner = make(tmp_path, {"curate.policy": "screen:known"})
    assert learner.update(blobs(60, seed=0, labels="abc"), gate="off").new_labels == ["a", "b", "c"]


# Features that are no numbers.


class Brittle(nn.Module):
    """Gives infinity where the first number is below -1."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh())
        self.out = nn.Linear(8, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.out(self.net(batch) / (batch[:, :1] > -1).float())


@pytest.mark.parametrize("policy", ["screen", "screen+noise", "screen+noise:weigh+weight", "screen+replay:50:herding"])
def test_features_that_are_not_finite_are_said_to_be_so_and_the_rows_wait(tmp_path, policy):
    torch.manual_seed(0)
    spec = ModelSpec(f"{__name__}:Brittle")
    learner = make(tmp_path, {"curate.policy": policy, "gate.mode": "off"}, model=Brittle(), spec=spec)
    assert learner.update(blobs(60, seed=0)).promoted
    rows = [{"inputs": [-3.0 - i, 0.0], "label": "a"} for i in range(4)] + blobs(60, seed=1)
    kept = Kept(learner)
    update = learner.update(rows)
    assert (update.verdict, update.version) == ("refused", None)
    assert "not finite" in update.reason
    kept.check(pending=124)
