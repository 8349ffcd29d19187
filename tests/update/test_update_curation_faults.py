"""Curation where rows, models and states are not as they should be: each of these went wrong once."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from dripstone.core.examples import Example, content_id, is_held_out
from dripstone.core.tensors import RawTensor
from dripstone.curate.noise import REASON, wrong_label_probabilities
from dripstone.learner import Learner
from dripstone.models import image_classifier
from dripstone.models.factory import ModelSpec
from dripstone.store.ledger import Book
from dripstone.update.batch import assemble
from dripstone.update.bookkeeping import count_rows, make_page, settle
from dripstone.update.moves import admit
from dripstone.view.cli import main
from learner_samples import blobs, book_of, live_rows, make, quarantined, trained


@pytest.mark.parametrize("policy", ["screen+weight", "screen"])
def test_a_factor_counts_in_the_update_that_gave_it_alone(tmp_path, policy):
    learner = make(tmp_path, {"gate.mode": "off"})
    learner.update(blobs(60, 0))
    rows = blobs(60, 1, labels="a") + blobs(10, 1, labels="b")
    learner.update(rows, curate="screen+weight")
    given = {row.id: row.factor for row in live_rows(learner, "train")}
    learner.revert()
    admit(learner.repository, quarantined(learner))
    learner.update(blobs(1, 9), curate=policy)
    again = {row.id: row.factor for row in live_rows(learner, "train") if given.get(row.id, 1.0) != 1.0}
    assert again
    for name, factor in again.items():
        assert factor == pytest.approx(1.0 if policy == "screen" else given[name], abs=0.05)


def test_a_first_stage_of_a_few_rows_does_not_shut_the_door(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"})
    learner.update([{"inputs": [0.5 + i / 100, 0.5 + i / 50], "label": "ab"[i % 2]} for i in range(3)])
    assert learner.update(blobs(20, seed=0)).examples.rejected == 0


def test_flat_pictures_before_square_ones_in_the_first_stage(tmp_path):
    draw = np.random.default_rng(0)
    rows = [{"inputs": draw.normal(size=(64,) if i < 5 else (8, 8)).tolist(), "label": i % 2} for i in range(40)]
    model = image_classifier((8, 8), channels=(4, 8), random_features=32)
    assert make(tmp_path, {"gate.mode": "off"}, model=model).update(rows).promoted


def test_drift_of_features_that_are_not_finite(tmp_path):
    spec = ModelSpec("test_update_bad_curation:Brittle")
    from test_update_bad_curation import Brittle

    torch.manual_seed(0)
    learner = make(tmp_path, {"curate.policy": "screen+drift", "gate.mode": "off"}, model=Brittle(), spec=spec)
    assert learner.update(blobs(60, seed=0)).promoted
    rows = [{"inputs": [-3.0 - i, 0.0], "label": "a"} for i in range(4)] + blobs(60, seed=1)
    assert "not finite" in learner.update(rows).reason


def test_the_largest_numbers_in_a_first_stage_with_dedupe(tmp_path):
    learner = make(tmp_path, {"curate.policy": "screen+dedupe", "gate.mode": "off"})
    far = [{"inputs": [3e38, -3e38], "label": "a"}, {"inputs": [-3e38, 3e38], "label": "b"}]
    learner.update(blobs(60, 0) + far)


def test_a_row_that_was_left_out_and_then_quarantined_is_counted_once():
    batch = assemble(Book(), np.empty((0, 2), np.int64), [Example("1", "hello", "z")], [], key=b"k" * 32, share=1e-9)
    batch.rows[0].left_out = REASON
    batch.set_aside("z", "not learned")
    assert [row.role for row in make_page(batch, None, None).rows] == ["quarantined"]
    book, _ = settle(Book(), batch, "cd" * 32, 3, "promoted", "", spent=False, keep_rows=False, cap=9, share=0.2)
    counts = count_rows(batch, book, 0, 0, 0)
    assert (counts.rejected, counts.quarantined) == (0, 1)


def test_rows_that_are_all_left_out_wait_and_are_no_bad_input(tmp_path, monkeypatch):
    learner = make(tmp_path, {"curate.policy": "screen+noise"})
    key = learner.repository.holdout_key
    rows = [row for row in blobs(40, seed=1) if not is_held_out(key, np.array(row["inputs"], np.float32), 0.2)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("dripstone.update.curation.wrong_label_probabilities", lambda _, targets: np.ones(len(targets)))
    with pytest.raises(SystemExit) as ended:
        main(["-C", str(learner.project), "update", str(file)])
    assert len(book_of(learner).pending) == len(rows)
    assert ended.value.code == 1


# labels by chance alone (log(by_chance).sum()), is likelier than the best of the mixtures and has to win
def test_where_a_model_knows_nothing_it_holds_nobody_to_be_wrong():
    targets = np.arange(36) % 2
    by_leaving_one_out = np.array([[0.45, 0.55, 0.0], [0.55, 0.45, 0.0]])[targets]
    assert wrong_label_probabilities([by_leaving_one_out], targets).max() < 0.5


@pytest.mark.parametrize("what", ["schema", "reference", "errors", "seen"])
def test_a_state_that_does_not_fit_is_rebuilt(tmp_path, what):
    learner = trained(tmp_path, {"curate.policy": "screen+dedupe+drift"})
    state = learner.repository.read_state(learner.champion().version)
    if what == "schema":
        damaged = replace(state, schema=msgspec.structs.replace(state.schema, low=[0.0] * 3, high=[1.0] * 3))
    else:
        odd = {
            "reference": RawTensor("BF16", (4, 2), b"\0" * 16),
            "errors": RawTensor("BF16", (2,), b"\0" * 4),
            "seen": RawTensor("I64", (0,), b""),
        }
        damaged = replace(state, drift={**state.drift, what: odd[what]})
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()
    learner.repository.write_state(damaged)
    assert Learner.open(learner.project).update(blobs(60, seed=1), gate="off").promoted


def test_rows_of_doubtful_labels_do_not_wait_with_a_batch_that_proves_nothing(tmp_path):
    learner = make(tmp_path, {"curate.policy": "screen+noise+replay:100"})
    assert learner.update(blobs(100, 0, "abcdef")).promoted
    rows = blobs(80, 1, "abcdef")
    draw = np.random.default_rng(0)
    wrong = draw.permutation(len(rows))[:48]
    for place in wrong:
        label = "abcdef".index(rows[place]["label"]) + int(draw.integers(1, 6))
        rows[place] = {**rows[place], "label": "abcdef"[label % 6]}
    update = learner.update(rows, settings={"gate.mode": "better"})
    assert update.verdict == "undecided"
    assert 30 < update.rejections[REASON] < 48  # of the others, most are held out, and no model is asked about those
    waiting = {item.row.id for item in book_of(learner).pending}
    assert len(waiting) > 300
    assert not waiting & {content_id(np.array(rows[place]["inputs"], dtype=np.float32)) for place in wrong}
