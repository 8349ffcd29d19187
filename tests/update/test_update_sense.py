"""Wrong rows that would hide: among rows that wait, one at a time, behind gigantic weights."""

import numpy as np
import pytest

from dripstone.update.audit import audit
from learner_samples import blobs, book_of, live_rows, make, quarantined


def wrong(count, seed, label="b"):
    return [{**row, "label": label, "id": f"wrong-{seed}-{i}"} for i, row in enumerate(blobs(count, seed, "a"))]


def named(rows, name):
    return [{**row, "id": f"{name}-{i}"} for i, row in enumerate(rows)]


def poisoned(learner):
    """Wrong rows that are learned, trusted or wait."""
    learned = [row.id for role in ("train", "held_out") for row in live_rows(learner, role)]
    return [name for name in [*learned, *(item.row.id for item in book_of(learner).pending)] if "wrong" in name]


@pytest.fixture
def learner(tmp_path):
    return _with_ids(tmp_path)


def _with_ids(folder, settings=None):
    learner = make(folder, {"task.id": "id", **(settings or {})})
    rows = [{**row, "w": 1.0} for row in blobs(150, seed=0)]
    assert learner.update(named(rows, "first")).promoted
    return learner


def test_what_contradicts_does_not_wait_where_no_gain_was_measured(learner):
    batch = named(blobs(40, seed=1), "right") + wrong(12, 2)
    update = learner.update(batch, gate="better")
    assert update.verdict == "undecided"
    assert "rows that contradict the live version: 12 of 92" in update.reason
    assert poisoned(learner) == []
    waiting = {item.row.id for item in book_of(learner).pending}
    assert waiting
    assert all(name.startswith("right") for name in waiting)
    assert all(item.row.role == "train" for item in book_of(learner).pending)
    assert learner.update(named(blobs(120, seed=3, labels="abc"), "new"), gate="better").promoted
    assert poisoned(learner) == []


def test_a_held_out_row_that_contradicts_does_not_wait(learner):
    for seed in range(200, 260):
        update = learner.update(wrong(1, seed))
        if "held out" in update.reason:
            break
    assert update.verdict == "undecided"
    assert update.examples.pending == 0
    assert "rows that contradict the live version: 1 of 1" in update.reason
    assert len(quarantined(learner)) >= 1


def test_wrong_rows_one_at_a_time_are_refused_after_a_handful(learner):
    verdicts = [learner.update(wrong(1, seed)).verdict for seed in range(300, 330)]
    assert verdicts.count("promoted") <= 6
    assert set(verdicts[8:]) == {"refused"}
    assert "row after row" in learner.log()[0].reason
    assert learner.update(named(blobs(20, 400), "honest")).promoted
    assert book_of(learner).doubt == 0.0


def test_overweight_rows_do_not_wait_where_no_gain_was_measured(tmp_path):
    learner = _with_ids(tmp_path, {"task.weight": "w"})
    light = [{**row, "w": 1.0} for row in named(blobs(20, seed=1), "light")]
    heavy = [{**row, "w": 5.0} for row in named(blobs(20, seed=2), "heavy")]
    update = learner.update(light + heavy, gate="better")
    assert update.verdict == "undecided"
    assert "40 rows weigh more than four times the middle trusted row" in update.reason
    assert {item.row.id.partition("-")[0] for item in book_of(learner).pending} == {"light"}
    assert len(quarantined(learner)) == 40


def test_honest_rows_that_contradict_no_more_than_usual_wait(learner):
    update = learner.update(named(blobs(2, seed=5, labels="ab"), "few"), settings={"gate.minimum": 500})
    assert update.verdict == "undecided"
    assert update.examples.pending == 4


def test_rows_of_gigantic_weight_do_not_silence_the_others(tmp_path):
    learner = _with_ids(tmp_path, {"task.weight": "w"})
    heavy = [{**row, "w": 1000.0} for row in named(blobs(30, seed=1, labels="a"), "heavy")]
    assert learner.update([{**row, "w": 1.0} for row in named(blobs(60, seed=2), "light")] + heavy).promoted
    update = learner.update([{**row, "w": 1.0} for row in named(blobs(90, seed=3, labels="abc"), "new")])
    assert update.promoted
    assert update.reason.startswith("gain proven")
    assert np.isfinite(update.evidence.wealth)


def test_a_contested_batch_has_to_prove_its_gain(learner):
    batch = named(blobs(40, seed=1, spread=0.1), "right") + wrong(6, 2)
    update = learner.update(batch)
    assert update.verdict == "undecided"
    assert "takes a proof where labels contradict the live version beyond chance" in update.reason
    assert "rows that contradict the live version: 6 of 86" in update.reason
    assert poisoned(learner) == []
    assert learner.update(named(blobs(60, seed=3), "next")).promoted
    assert poisoned(learner) == []
    assert list(audit(learner.repository, learner.config)) == []


@pytest.fixture
def unsure(tmp_path):
    """A learner that is right on nine rows of ten: one row that contradicts is not beyond chance."""
    learner = make(tmp_path, {"task.id": "id"})
    assert learner.update(named(blobs(400, seed=0, spread=1.3), "first")).promoted
    return learner


def test_a_row_that_contradicts_alone_does_not_wait_where_no_gain_was_measured(unsure):
    for seed in range(500, 560):
        before = unsure.repository.log.head().version
        update = unsure.update(wrong(1, seed), settings={"gate.minimum": 5000})
        assert update.verdict in {"undecided", "refused"}
        assert unsure.repository.log.head().version == before
    assert poisoned(unsure) == []


def test_a_row_that_agrees_alone_waits(unsure):
    update = unsure.update([{"inputs": [2.0, 0.0], "label": "a", "id": "alone"}], settings={"gate.minimum": 5000})
    assert update.verdict == "undecided"
    assert [item.row.id for item in book_of(unsure).pending] == ["alone"]


def test_an_old_class_under_a_new_name_is_found_by_few_trusted_rows(tmp_path):
    learner = make(tmp_path, {"task.id": "id", "gate.minimum": 10})
    many = named(blobs(40, seed=0, labels="bcd"), "many") + named(blobs(40, seed=1, labels="a"), "few")
    assert learner.update(many, gate="off").promoted
    assert 5 <= sum(row.target == "a" for row in live_rows(learner, "held_out")) <= 12
    stolen = [{**row, "label": "a2", "id": f"wrong-{i}"} for i, row in enumerate(blobs(40, seed=7, labels="a"))]
    update = learner.update(named(blobs(40, seed=8, labels="bcd"), "right") + stolen)
    assert "the new label a2 takes" in update.reason
    assert "right answers of class a;" in update.reason
    assert poisoned(learner) == []
    assert len(quarantined(learner)) == 40
    assert list(audit(learner.repository, learner.config)) == []


def test_an_honest_new_label_is_no_thief(learner):
    update = learner.update(named(blobs(60, seed=8, labels="abcde"), "right"))
    assert update.promoted
    assert update.new_labels == ["c", "d", "e"]


@pytest.mark.parametrize("rows", [1, 5])
def test_wrong_rows_under_a_label_that_the_champion_is_bad_at_do_not_get_in(tmp_path, rows):
    """Four of five rows of that label look like others', so that its own trusted rows excuse any contradiction."""
    learner, draw = make(tmp_path, {"task.id": "id"}), np.random.default_rng(1)
    places = ["f" if draw.random() < 0.2 else "abcde"[draw.integers(5)] for _ in range(150)]
    mixed = [{**blobs(1, int(draw.integers(10**9)), place)[0], "label": "w"} for place in places]
    assert learner.update(named(blobs(250, 0, "abcde") + mixed, "first")).promoted
    for seed in range(40):
        batch = [{**row, "label": "w", "id": f"wrong-{seed}-{i}"} for i, row in enumerate(blobs(rows, 100 + seed, "c"))]
        learner.update(batch)
    learned = [row.id for role in ("train", "held_out") for row in live_rows(learner, role)]
    assert sum("wrong" in name for name in learned) == 0
    assert list(audit(learner.repository, learner.config)) == []
