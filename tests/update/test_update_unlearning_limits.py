"""Where unlearning is not exact it says so: features that rows shaped, output layers without a closed form, texts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dripstone.core.records import Metrics
from dripstone.learner import Learner
from dripstone.models import ModelSpec, mlp
from dripstone.update import moves
from dripstone.update.audit import find_all
from learner_samples import blobs, make, own_net, quarantined
from number_samples import make_numbers, measured
from text_samples import exchanges, make_texts, stories
from unlearning_samples import bytes_of, check, learned, named, traces_of, with_and_without

IDS = {"task.id": "id"}


def deep(folder, settings=None):
    """A project of a small network, whose first update moves the head alone."""
    quick = {"train.stop.epochs": 2, "gate.mode": "off"}
    return make(folder, {**IDS, **quick, **(settings or {})}, model=mlp(inputs=2, hidden=[8, 8]))


def layer(learner):
    head = learner.champion().model.head
    return torch.cat([head.weight, head.bias[:, None]], dim=1).detach()


def test_rows_that_a_suffix_update_learned_are_named(tmp_path):
    learner = deep(tmp_path)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    clean = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=1), "day1"), select="suffix:1").promoted
    tuned = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=2), "day2"), select="head").promoted
    rows = learned(learner)
    early, later = (next(row.id for row in rows if row.id.startswith(day)) for day in ("day0", "day1"))
    last = next(row.id for row in rows if row.id.startswith("day2"))
    left = [row for row in rows if row.id not in (early, later, last)]
    before = {n: t.clone() for n, t in learner.champion().model.named_parameters() if n.startswith("backbone")}
    report = learner.unlearn([early, later, last])
    assert (report.exact, report.solved) == (False, True)
    root = learner.log()[-1].version
    assert [(one.id, one.version, one.selection, one.retrain_from, one.rows) for one in report.shaped] == [
        (early, tuned, "suffix:1@adamw", root, len(left)),
        (later, tuned, "suffix:1@adamw", root, len(left)),
    ]
    assert clean in report.collected
    assert f"the features still stem from {tuned[:12]}, which 2 of them shaped" in report.reason
    assert report.retrain[0] == f"dripstone revert {root[:12]}"
    after = dict(learner.champion().model.named_parameters())
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert traces_of(learner.repository.path, early.encode(), later.encode(), last.encode()) == set()
    check(learner)


def test_the_retraining_that_is_named_leaves_nothing_of_the_rows(tmp_path):
    learner = deep(tmp_path)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    clean = learner.repository.log.head().version
    assert learner.update(named(blobs(40, seed=1), "day1"), select="suffix:1").promoted
    row = next(row for row in learned(learner) if row.id.startswith("day1"))
    report = learner.unlearn([row.id])
    assert [one.retrain_from for one in report.shaped] == [clean]
    assert report.retrain[0] == f"dripstone revert {clean[:12]}"
    reverted = learner.revert(clean)
    groups = learner.repository.read_book(reverted.book).quarantined
    assert {group.number for group in groups} == {reverted.number}
    assert sum(len(group.indices) for group in groups) >= report.shaped[0].rows
    moves.admit(learner.repository, quarantined(learner))
    again = learner.update(named(blobs(1, seed=0), "day0"), select="suffix:1")
    assert again.promoted
    assert again.examples.trained == report.shaped[0].rows
    assert len(learned(learner)) == len(learned(learner, version=report.version))
    check(learner)


def test_rows_that_came_after_the_features_are_taken_out_exactly(tmp_path):
    learner = deep(tmp_path)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="suffix:1").promoted
    assert learner.update(named(blobs(40, seed=1), "day1"), select="head").promoted
    row = next(row for row in learned(learner) if row.id.startswith("day1"))
    assert learner.unlearn([row.id]).exact
    check(learner)


def test_what_was_shaped_is_known_after_an_earlier_unlearning(tmp_path):
    """The version that moved the features was collected; who shaped it is still known."""
    learner = deep(tmp_path)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    assert learner.update(named(blobs(40, seed=1), "day1"), select="suffix:1").promoted
    tuned = learner.repository.log.head().version
    one, two = [row.id for row in learned(learner) if row.id.startswith("day1")][:2]
    first, second = learner.unlearn([one]), learner.unlearn([two])
    assert (first.exact, second.exact) == (False, False)
    assert [(shaped.id, shaped.version) for shaped in second.shaped] == [(two, tuned)]
    check(learner)


@pytest.mark.parametrize("select", ["head@adamw", "suffix:1@sgd", "full"])
def test_an_output_layer_that_was_trained_in_the_loop_stays_and_is_named(tmp_path, select):
    learner = deep(tmp_path)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    assert learner.update(named(blobs(40, seed=1), "day1"), select=select).promoted
    looped, weights = learner.repository.log.head().version, layer(learner)
    row = next(row for row in learned(learner) if row.id.startswith("day1"))
    wanted = bytes_of(learner, row)
    report = learner.unlearn([row.id])
    assert (report.exact, report.solved) == (False, False)
    assert report.inexact.startswith(f"version {looped[:12]} trained the output layer in the loop ({select[:4]}")
    assert [(one.id, one.version) for one in report.shaped] == [(row.id, looped)]
    assert torch.equal(layer(learner), weights)
    assert "not exact" in learner.log()[0].reason
    assert report.collected == [looped]
    assert traces_of(learner.repository.path, *wanted) == set()
    check(learner)
    assert learner.update(named(blobs(40, seed=2), "day2"), select="head").promoted
    check(learner)


def test_tuned_features_with_a_head_of_the_closed_form_are_solved(tmp_path, monkeypatch):
    """As the ladder leaves them: the selection says that blocks were tuned, and the head is that of every row."""
    learner = deep(tmp_path)
    monkeypatch.setattr("dripstone.update.ladder._wins", lambda gains, by: True)
    assert learner.update(named(blobs(40, seed=0), "day0"), select="head").promoted
    monkeypatch.setattr("dripstone.update.ladder._is_due", lambda lesson, look: True)
    tuned = learner.update(named(blobs(40, seed=1), "day1"), select="ladder")
    assert tuned.promoted
    assert tuned.selection.startswith("suffix")
    row = next(row for row in learned(learner) if row.id.startswith("day1"))
    report = learner.unlearn([row.id])
    assert (report.solved, report.inexact) == (True, "")
    assert [one.version for one in report.shaped] == [tuned.version]
    check(learner)


def test_an_output_layer_that_came_with_the_model_stays(tmp_path):
    model = own_net()
    learner = make(
        tmp_path,
        {**IDS, "gate.mode": "off", "train.stop.epochs": 2},
        model=model,
        spec=ModelSpec("learner_samples:own_net"),
        labels=["a", "b"],
    )
    assert learner.update(named(blobs(40, seed=0), "day0")).promoted
    row = learned(learner)[0]
    report = learner.unlearn([row.id])
    assert "the output layer came with the model" in report.inexact
    assert not report.exact
    assert traces_of(learner.repository.path, *bytes_of(learner, row)[:2]) == set()
    check(learner)


def test_texts_leave_the_store_and_the_weights_stay(tmp_path):
    learner = make_texts(tmp_path, {**IDS, "task.slice": "domain"})
    assert learner.update(named(stories(80, 0), "old"), gate="off").promoted
    first = learner.repository.log.head().version
    new = named(stories(40, 1), "new")
    marked = [{**row, "text": f"{row['text']} zebra {number}."} for number, row in enumerate(new)]
    assert learner.update(marked, gate="off").promoted
    second = learner.repository.log.head().version
    bits = {name: tensor.clone() for name, tensor in learner.champion().model.state_dict().items()}
    gone = [row for role in ("train", "held_out") for row in learned(learner, role) if row.id.startswith("new")]
    wanted = [row.inputs.encode() for row in gone]
    report = learner.unlearn([row.id for row in gone])
    assert (report.exact, report.solved) == (False, False)
    assert "language model" in report.inexact
    trained = sorted(row.id for row in gone if row.role == "train")
    assert [(one.id, one.version, one.retrain_from) for one in report.shaped] == [(i, second, first) for i in trained]
    assert report.metrics.champion == report.metrics.candidate != Metrics()
    assert report.metrics.champion.perplexity > 1
    after = learner.champion().model.state_dict()
    assert all(torch.equal(after[name], bits[name]) for name in bits)
    assert learner.repository.manifest(report.version).parent == first
    assert traces_of(learner.repository.path, *wanted, b"zebra") == set()
    check(learner)
    learner.revert(first)
    assert learner.predict(["the cat"])
    check(learner)


def test_replies_leave_as_well(tmp_path):
    learner = make_texts(tmp_path, IDS, target="reply")
    rows = named(exchanges(60, 0), "one")
    rows[3]["reply"] = "SECRET reply"
    assert learner.update(rows, gate="off").promoted
    assert not learner.unlearn([rows[3]["id"]]).exact
    assert traces_of(learner.repository.path, b"SECRET", rows[3]["text"].encode()) == set()
    check(learner)


def test_a_grown_model(tmp_path):
    learner = make_texts(tmp_path, IDS)
    assert learner.update(named(stories(60, 0), "old"), gate="off").promoted
    first = learner.repository.log.head().version
    assert learner.update(named(stories(40, 1), "new"), gate="off").promoted
    learner.grow(depth=1, ffn=8)
    assert learner.update(named(stories(40, 2), "newer"), gate="off", select="grown").promoted
    answers = learner.champion().model.read([row["text"] for row in stories(5, 9)])
    row = next(row for row in learned(learner) if row.id.startswith("new-"))
    report = learner.unlearn([row.id])
    assert len(report.collected) == 3
    assert learner.repository.manifest(report.version).parent == first
    assert torch.equal(learner.champion().model.read([row["text"] for row in stories(5, 9)]), answers)
    check(learner)
    assert len(list(find_all(learner.repository, learner.config))) == 3
    assert learner.update(named(stories(30, 3), "newest"), gate="off").promoted
    check(learner)


def test_numbers(tmp_path):
    learner = make_numbers(tmp_path, IDS)
    for day in range(3):
        assert learner.update(named(measured(120, day), f"day{day}"), gate="off").promoted
    gone = [row.id for row in learned(learner) if row.id.startswith("day1")][:20]
    rows = [row for row in learned(learner) if row.id not in gone]
    report = learner.unlearn(gone)
    assert (report.exact, report.labels) == (True, [])
    assert report.metrics.candidate.rmse == pytest.approx(report.metrics.champion.rmse, rel=0.2)
    assert len(learned(learner)) == len(rows)
    check(learner)
    everything = [row.id for role in ("train", "held_out") for row in learned(learner, role)]
    assert learner.unlearn(everything).exact
    assert not layer(learner).any()
    check(learner)


def test_numbers_are_those_of_a_model_that_never_saw_the_rows(tmp_path):
    first, later = named(measured(200, 0), "first"), named(measured(200, 1), "later")
    one, other = with_and_without(tmp_path, IDS, first, later, every=4, make=make_numbers)
    mine, theirs = (layer(learner).double() * float(learner.champion().model.head.scale) for learner in (one, other))
    assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_numbers_of_which_none_is_left_that_counts(tmp_path):
    learner = make_numbers(tmp_path, {**IDS, "task.weight": "weight"})
    rows = [{**row, "weight": float(number % 2)} for number, row in enumerate(named(measured(200, 0), "day0"))]
    assert learner.update(rows, gate="off").promoted
    gone = [row["id"] for row in rows if row["weight"]]
    assert learner.unlearn(gone).solved
    assert len(learned(learner)) > 50
    assert not layer(learner).any()
    check(learner)


def test_rows_that_fade_weigh_what_they_did(tmp_path):
    """What is left weighs as if the rows had never come between; later updates let all of it fade on."""
    policy = {"curate.policy": "screen+forget:200+replay:100", **IDS}
    batches = [named(blobs(50, seed=day), f"day{day}") for day in range(4)]
    one, other = make(tmp_path / "one", policy), make(tmp_path / "other", policy)
    for learner in (one, other):
        assert learner.update(batches[0], gate="off").promoted
    for batch in batches[1:3]:
        assert one.update(batch, gate="off").promoted
    gone = {row["id"] for row in batches[1][::3]}
    assert one.unlearn(gone).exact
    for batch in batches[1:3]:
        assert other.update([row for row in batch if row["id"] not in gone], gate="off").promoted
    assert torch.allclose(layer(one), layer(other), rtol=0, atol=1e-6)
    check(one)
    for learner in (one, other):
        assert learner.update(batches[3], gate="off").promoted
    assert torch.allclose(layer(one), layer(other), rtol=0, atol=1e-5)
    check(one)


def test_weighted_rows(tmp_path):
    settings = {**IDS, "task.weight": "weight"}
    first, later = (
        [{**row, "weight": 1.0 + number % 3} for number, row in enumerate(named(blobs(60, seed=day), f"day{day}"))]
        for day in range(2)
    )
    one, other = with_and_without(tmp_path, settings, first, later, every=3)
    assert torch.allclose(layer(one), layer(other), rtol=0, atol=1e-6)
    check(one)


def test_the_first_version_of_a_project_that_was_made_from_rows(tmp_path):
    """Nothing before it was ever live, so that only a new project learns without the rows."""
    quick = {**IDS, "train.stop.epochs": 2, "select.selection": "suffix:1", "gate.mode": "off"}
    learner = make(tmp_path, quick, model=mlp(inputs=2, hidden=[8, 8]), data=named(blobs(60, seed=0), "day0"))
    row = learned(learner)[0]
    report = learner.unlearn([row.id])
    assert not report.exact
    assert "dripstone init" in report.retrain[0]
    check(learner)
    assert learner.update(named(blobs(40, seed=1), "day1")).promoted
    check(learner)


def test_rows_that_init_held_out(tmp_path):
    """What recognises them as held out goes with them, unless another row needs it."""
    held = named(blobs(20, seed=5), "held")
    learner = make(tmp_path, IDS, data=named(blobs(60, seed=0), "day0"), holdout=[*held, {**held[0], "id": "twin."}])
    assert len(learner.repository.read_book(learner.repository.log.head().book).held_out) == 41
    learner.unlearn([held[0]["id"], held[1]["id"]])
    book = learner.repository.read_book(learner.repository.log.head().book)
    assert len(book.held_out) == 40
    assert learner.update([{**held[1], "id": "other."}, {**held[0], "id": "more."}], gate="off")
    wait = {item.row.id: item.row.role for item in learner.repository.read_book(learner.log()[0].book).pending}
    roles = {row.id: row.role for name in learner.repository.pages() for row in learner.repository.read_page(name).rows}
    assert roles["more."] == "held_out" or wait.get("more.") == "held_out"
    check(learner)


def test_columns_that_have_a_new_scale(tmp_path):
    """The scale is a hyperparameter: it stays, and the head is exact under it."""
    draw = np.random.default_rng(0)

    def rows(count, size, prefix):
        points = draw.normal(size=(count, 2)) * [1.0, size]
        return [
            {"id": f"{prefix}-{i}.", "inputs": point.tolist(), "label": "ab"[int(point[0] > 0)]}
            for i, point in enumerate(points)
        ]

    learner = make(tmp_path, {**IDS, "gate.mode": "off"})
    assert learner.update(rows(70, 1e-3, "small")).promoted
    assert learner.update(rows(400, 1.0, "large")).promoted
    row = next(row for row in learned(learner) if row.id.startswith("small"))
    assert learner.unlearn([row.id]).exact
    check(learner)
    assert learner.update(rows(300, 1.0, "more")).promoted
    check(learner)


def test_a_store_from_before(tmp_path):
    shutil.copytree(Path(__file__).parent.parent / "golden" / "judged-v1", tmp_path / "p")
    learner = Learner.open(tmp_path / "p")
    row = learned(learner)[0]
    wanted = bytes_of(learner, row)
    report = learner.unlearn([row.id])
    assert report.exact
    assert traces_of(learner.repository.path, *wanted) == set()
    check(learner)
