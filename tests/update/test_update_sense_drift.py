"""Where the policy expects drift, rows unlike the trusted ones are news, and those like them are asked as ever."""

import numpy as np
import pytest
import torch

from dripstone.core.examples import Example
from dripstone.gate.trusted import newest_trusted
from dripstone.update.audit import audit
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.sense import Opinion, is_contested
from learner_samples import blobs, book_of, live_rows, make, relabelled

DRIFT = "screen+drift+replay:2000"


def moved(rows, by=(9.0, -7.0)):
    """The same labels elsewhere: inputs as the champion has never seen them."""
    return [{**row, "inputs": (np.array(row["inputs"]) + np.array(by)).tolist()} for row in rows]


def mirrored(rows, by=(9.0, -7.0)):
    """Elsewhere, and the labels have changed sides, so that the champion has them wrong."""
    return moved([{**row, "inputs": (-np.array(row["inputs"])).tolist()} for row in rows], by)


def life(folder, curate, first=150):
    learner = make(folder, curate=curate)
    assert learner.update(blobs(first, seed=0)).promoted
    assert learner.update(blobs(60, seed=1)).promoted
    return learner


def accuracy(learner, rows):
    return np.mean([learner.predict([row["inputs"]])[0] == row["label"] for row in rows])


def test_a_world_that_has_moved_is_learned_without_a_person(tmp_path):
    learner = life(tmp_path, DRIFT)
    assert accuracy(learner, mirrored(blobs(30, seed=9))) < 0.6
    updates = [learner.update(mirrored(blobs(60, seed=seed))) for seed in range(2, 5)]
    assert [update.verdict for update in updates] == ["promoted"] * 3
    assert book_of(learner).pending == []
    assert accuracy(learner, mirrored(blobs(30, seed=9))) > 0.9
    assert accuracy(learner, blobs(30, seed=9)) > 0.9
    assert list(audit(learner.repository, learner.config)) == []


def test_without_the_policy_a_person_decides(tmp_path):
    learner = life(tmp_path, "screen+replay:2000")
    update = learner.update(mirrored(blobs(60, seed=2)))
    assert update.verdict == "refused"
    assert "agree with the live version on" in update.reason


@pytest.mark.parametrize("count", [10, 60, 200])
def test_wrong_labels_of_familiar_rows_are_refused_as_ever(tmp_path, count):
    learner = life(tmp_path, DRIFT)
    before = learner.champion().version
    update = learner.update(relabelled(blobs(count, seed=2)))
    assert update.verdict != "promoted"
    assert learner.champion().version == before
    assert accuracy(learner, blobs(30, seed=9)) > 0.9


def test_familiar_wrong_rows_among_strange_right_ones_refuse_the_batch(tmp_path):
    learner = life(tmp_path, DRIFT)
    update = learner.update(mirrored(blobs(60, seed=2)) + relabelled(blobs(20, seed=3)))
    assert update.verdict == "refused"
    assert book_of(learner).pending == []


def test_one_label_whose_rows_alone_look_strange_is_set_aside(tmp_path):
    learner = life(tmp_path, DRIFT)
    stamped = [{**row, "label": "b"} for row in moved(blobs(60, seed=2, labels="a"))]
    update = learner.update(blobs(60, seed=3) + stamped)
    assert "the rows labelled b agree with the live version" in update.reason
    learned = {tuple(row.example().inputs) for row in live_rows(learner, "train")}
    assert not learned & {tuple(np.array(row["inputs"], dtype="f4")) for row in stamped}


def test_a_batch_of_one_label_that_looks_strange_is_set_aside(tmp_path):
    learner = life(tmp_path, DRIFT)
    stamped = [{**row, "label": "b"} for row in moved(blobs(60, seed=2, labels="a"))]
    before = learner.champion().version
    learner.update(stamped)
    assert learner.champion().version == before


def test_strange_rows_that_teach_nothing_do_not_wait_for_the_next_gain(tmp_path):
    learner = make(tmp_path, curate=DRIFT)
    assert learner.update(blobs(60, seed=0, labels="abcdef", spread=0.1)).promoted
    draw = np.random.default_rng(0)
    noise = [{**row, "label": "abcdef"[draw.integers(6)]} for row in moved(blobs(150, seed=2))]
    update = learner.update(noise)
    assert update.verdict != "promoted"
    assert "rows unlike all that the live version was tried on taught nothing" in update.reason
    assert book_of(learner).pending == []
    assert learner.update(blobs(60, seed=3, labels="abcdefg", spread=0.1)).promoted
    learned = {tuple(row.example().inputs) for role in ("train", "held_out") for row in live_rows(learner, role)}
    assert not learned & {tuple(np.array(row["inputs"], dtype="f4")) for row in noise}
    assert list(audit(learner.repository, learner.config)) == []


@pytest.mark.parametrize(("recent", "contested"), [(1200, True), (200, False)])
def test_new_rows_are_held_against_the_newest_trusted_ones(recent, contested):
    """A champion that is worse on what comes now than on what came long ago contradicts as often as it is wrong."""
    examples = [Example(str(row), np.zeros(2, dtype="f4"), "a") for row in range(100)]
    batch = Batch([BatchRow(example, held_out=False) for example in examples])
    zeros = np.zeros(1200, dtype=int)
    right = np.concatenate([np.ones(1000, bool), np.arange(200) < 120])
    opinion = Opinion(
        torch.empty(100, 1),
        zeros[:100],
        np.arange(100) < 60,
        np.ones(100, bool),
        zeros,
        zeros,
        right,
        newest_trusted(zeros, recent, 20),
    )
    assert is_contested(batch, opinion) == contested
    assert len(opinion.yardstick(np.ones(100, bool))[0]) == recent
