"""Every way an update can end, through the real learner."""

import numpy as np
import pytest
import torch

from dripstone.core.errors import DataError, UsageError
from dripstone.core.events import Epoch, Finished, Stored
from dripstone.core.examples import is_held_out
from dripstone.models import mlp
from dripstone.models.factory import ModelSpec
from dripstone.train.statistics import read_statistics, to_sums
from dripstone.update.moves import admit
from learner_samples import (
    blobs,
    book_of,
    folder_hash,
    live_rows,
    make,
    own_net,
    quarantined,
    relabelled,
    scores,
    trained,
)


def noise(label: str, count: int, seed: int) -> list[dict]:
    """A label all over the place of the others: nothing to learn."""
    return [{**row, "label": label} for row in blobs(count, seed)]


def test_a_first_batch_is_promoted_by_proof(tmp_path):
    learner = make(tmp_path)
    update = learner.update(blobs(150, seed=0))
    assert (update.verdict, update.promoted) == ("promoted", True)
    assert update.reason.startswith("gain proven")
    assert update.evidence.wealth >= update.evidence.threshold > 0
    assert (update.number, learner.repository.log.head().version) == (2, update.version)
    assert update.examples.received == 300 == update.examples.trained + update.examples.held_out
    assert update.metrics.candidate.accuracy > 0.95
    assert update.delta_bytes > 0
    assert 0 < update.parameters.trained < update.parameters.total
    assert update == learner.repository.read_record(update.version, 2, learner.log()[0].nonce)


def test_a_batch_without_measurable_loss_is_promoted(tmp_path):
    update = trained(tmp_path).update(blobs(30, seed=1))
    assert update.promoted
    assert update.reason.startswith("no loss measured")


def test_few_rows_wait_and_decide_with_the_next_batch(tmp_path):
    learner = make(tmp_path)
    first = learner.update(blobs(15, seed=0))
    assert (first.verdict, first.evidence.rows < 12) == ("undecided", True)
    assert first.examples.pending == 30 == len(book_of(learner).pending)
    assert first.evidence.rows_needed > 0
    second = learner.update(blobs(150, seed=1))
    assert second.promoted
    assert second.examples.received == 300
    assert second.examples.trained + second.examples.held_out == 330
    assert second.evidence.rows > first.evidence.rows
    assert second.evidence.wealth > first.evidence.wealth
    assert book_of(learner).pending == []
    assert len(live_rows(learner, "train")) == second.examples.trained
    assert second.parent == first.parent


def test_mode_better_promotes_by_proof_only(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    assert learner.update(blobs(60, seed=1)).verdict == "undecided"
    assert learner.update(blobs(60, seed=2, labels="abc")).reason.startswith("gain proven")


def test_mode_off_asks_nothing_and_spends_no_test(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"})
    assert learner.update(blobs(60, seed=0)).promoted
    assert learner.update(relabelled(blobs(60, seed=1))).promoted
    assert book_of(learner).tested == 0


def test_a_first_version_with_data_leaves_the_whole_of_alpha(tmp_path):
    learner = make(tmp_path, data=blobs(150, seed=0))
    assert book_of(learner).tested == 0
    assert learner.update(blobs(100, seed=1, labels="abc")).evidence.threshold == pytest.approx(40)


def test_poison_is_refused_by_sense_and_quarantined(tmp_path):
    learner = trained(tmp_path)
    live, before = learner.log()[0].version, scores(learner)
    update = learner.update(relabelled(blobs(40, seed=1)))
    assert (update.verdict, update.version) == ("refused", None)
    assert "agree with the live version on 0%" in update.reason
    assert update.examples.quarantined == 80 == len(quarantined(learner))
    assert learner.log()[0].version == live
    assert torch.equal(scores(learner), before)


def test_poison_cannot_empty_the_trusted_rows_by_correcting_them(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(relabelled(blobs(150, seed=0)))
    assert (update.verdict, update.version) == ("refused", None)
    assert "agree with the live version" in update.reason
    assert learner.update(blobs(150, seed=0)).verdict == "unchanged"


def test_poison_that_is_sent_again_is_not_counted_twice(tmp_path):
    learner = trained(tmp_path)
    poison = relabelled(blobs(40, seed=1))
    learner.update(poison)
    again = learner.update(poison)
    assert again.verdict == "refused"
    assert again.examples.quarantined == 80 == len(set(quarantined(learner)))
    mended = learner.update(blobs(40, seed=1))
    assert mended.promoted
    assert quarantined(learner) == []


def test_poison_does_not_take_pending_rows_with_it(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    waiting = blobs(20, seed=1)
    assert learner.update(waiting).verdict == "undecided"
    assert learner.update(relabelled(waiting)).verdict == "refused"
    pending = book_of(learner).pending
    assert [item.row.target for item in pending].count("a") == 20 == len(pending) / 2
    assert all(item.row.target == before["label"] for item, before in zip(pending, waiting, strict=True))


def test_poison_that_seems_to_make_sense_is_refused_by_harm(tmp_path):
    learner = trained(tmp_path, {"gate.sense": 0.99, "train.ridge": 1.0}, rows=300)
    update = learner.update(relabelled(blobs(1200, seed=1)))
    assert update.verdict == "refused"
    assert "got worse" in update.reason
    assert update.version in learner.repository.versions()
    assert learner.log()[0].candidate == update.version
    assert update.examples.quarantined == 2400


def test_the_same_file_twice_changes_nothing(tmp_path):
    learner = make(tmp_path)
    rows = blobs(150, seed=0)
    rows += rows[:10]  # with its own repetitions
    assert learner.update(rows).promoted
    before = folder_hash(tmp_path)
    update = learner.update(rows)
    assert (update.verdict, update.reason, update.number) == ("unchanged", "nothing new to learn", None)
    assert folder_hash(tmp_path) == before


def test_the_same_undecided_file_twice_changes_nothing(tmp_path):
    learner = make(tmp_path)
    learner.update(blobs(10, seed=0))
    before = folder_hash(tmp_path)
    assert learner.update(blobs(10, seed=0)).verdict == "unchanged"
    assert folder_hash(tmp_path) == before


def test_a_batch_of_bad_rows_only_is_recorded_and_changes_nothing_else(tmp_path):
    learner = trained(tmp_path)
    live, before = learner.log()[0].version, scores(learner)
    bad = [3.5, True, None, 10**5000, "\ud800", ["x"], "", 7]
    update = learner.update([{"inputs": [i, 0], "label": label} for i, label in enumerate(bad)])
    assert (update.verdict, update.version, update.examples.rejected) == ("undecided", None, len(bad))
    assert update.reason.startswith("all 8 rows were rejected; row 1")
    entry = learner.log()[0]
    assert (entry.number, entry.version, entry.verdict) == (3, live, "undecided")
    page = learner.repository.read_page(entry.page)
    assert {row.role for row in page.rows} == {"rejected"}
    assert all(row.reason for row in page.rows)
    assert sum(update.rejections.values()) == len(bad)
    assert torch.equal(scores(learner), before)


def test_bad_rows_among_good_ones_are_left_out(tmp_path):
    odd = [
        {"inputs": [0, float("nan")], "label": "a"},
        {"inputs": [1, 2, 3], "label": "a"},
        {"inputs": "x", "label": 1},
    ]
    update = make(tmp_path).update([*odd, *blobs(150, seed=0)])
    assert update.promoted
    assert (update.examples.rejected, len(update.rejections)) == (3, 3)


def test_a_report_of_many_different_rejections_stays_small(tmp_path):
    learner = trained(tmp_path)
    update = learner.update([{"inputs": [0.0, i], "label": i} for i in range(500)])
    assert sum(update.rejections.values()) == 500
    assert len(update.rejections) <= 51


def test_a_batch_that_is_all_held_out_waits(tmp_path):
    settings = {"gate.holdout": 1 - 1e-12}
    learner = make(tmp_path, settings)
    update = learner.update(blobs(5, seed=1))
    assert (update.verdict, update.version, update.examples.pending) == ("undecided", None, 10)
    assert "held out" in update.reason
    assert learner.update(blobs(5, seed=1)).verdict == "unchanged"


def test_the_share_of_held_out_rows_cannot_change(tmp_path):
    learner = trained(tmp_path)
    before = learner.log()[0].number
    with pytest.raises(UsageError, match=r"gate\.holdout is 0\.05, where this store has held rows out at 0\.2"):
        learner.update(blobs(30, seed=2), settings={"gate.holdout": 0.05})
    assert learner.log()[0].number == before


def test_wrong_rows_that_wait_are_refused_together(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    verdicts = [learner.update([row]).verdict for row in relabelled(blobs(20, seed=5))]
    assert set(verdicts) == {"undecided", "refused"}
    assert len(quarantined(learner)) > 30
    assert len(book_of(learner).pending) < 10


def test_rows_that_a_person_admitted_are_never_asked_again(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(relabelled(blobs(10, seed=1)))
    admit(learner.repository, quarantined(learner))
    for seed in (2, 3):
        assert learner.update(blobs(5, seed=seed)).verdict == "undecided"
    assert quarantined(learner) == []


def test_the_loop_does_not_pay_for_statistics_that_are_gone(tmp_path, monkeypatch):
    learner = make(tmp_path, model=mlp(inputs=2, hidden=(8,), random_features=64))
    assert learner.update(blobs(100, seed=0), select="suffix:1").promoted
    monkeypatch.setattr("dripstone.update.training_state.last_of_each", None)  # the ledger is not read
    assert learner.update(blobs(100, seed=1), select="suffix:1", gate="off").promoted


def test_what_the_pending_rows_have_no_room_for_is_reported(tmp_path):
    learner = trained(tmp_path, {"gate.mode": "better", "store.pending": 15})
    assert learner.update(blobs(5, seed=1)).examples.dropped == 0
    update = learner.update(blobs(5, seed=2))
    assert (update.verdict, update.examples.pending, update.examples.dropped) == ("undecided", 15, 5)


def test_a_row_with_the_same_id_and_other_inputs_is_a_correction(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    rows = [{**row, "id": str(number)} for number, row in enumerate(blobs(100, seed=0))]
    assert learner.update(rows).promoted
    moved = [{**row, "inputs": np.asarray(row["inputs"]) + 0.01} for row in rows]
    update = learner.update(moved[:40])
    assert update.examples.trained + update.examples.held_out == 40
    assert learner.update(rows[40:]).verdict == "unchanged"


def test_new_labels_are_named(tmp_path):
    learner = make(tmp_path)
    assert learner.update(blobs(100, seed=0)).new_labels == sorted({row["label"] for row in blobs(2, seed=0)})
    assert learner.update(blobs(100, seed=1)).new_labels == []


def test_training_that_diverges_harms_nobody_and_can_be_tried_again(tmp_path):
    wild = {"select.selection": "full@adamw", "train.learning_rate": 1e18}
    learner = make(tmp_path, model=mlp(inputs=2, hidden=(8,), random_features=64))
    assert learner.update(blobs(150, seed=0)).promoted
    live, before = learner.log()[0].version, scores(learner)
    rows = blobs(40, seed=1)
    update = learner.update(rows, settings=wild)
    assert (update.verdict, update.version) == ("refused", None)
    assert "diverged" in update.reason
    assert "lower train.learning_rate" in update.reason
    assert (update.examples.pending, update.examples.quarantined) == (80, 0)
    assert learner.log()[0].version == live
    assert torch.equal(scores(learner), before)
    calm = learner.update(rows)  # the remedy, with the same file
    assert calm.promoted
    assert calm.examples.trained + calm.examples.held_out == 80
    assert learner.update(rows).verdict == "unchanged"


def test_a_label_that_cannot_be_learned_is_set_aside_alone(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(noise("z", 100, seed=5) + blobs(50, seed=6))
    assert update.promoted
    assert update.examples.quarantined == 200 == len(quarantined(learner))
    assert {group.reason for group in book_of(learner).quarantined} == {
        "the new label z was not learned on half of its held-out rows; its rows are quarantined"
    }
    assert "; besides, the new label z was not learned" in update.reason
    assert learner.champion().task.labels == ("a", "b")
    assert update.examples.trained + update.examples.held_out == 100
    assert {row.target for row in live_rows(learner, "train")} == {"a", "b"}


def test_where_no_label_can_be_learned_the_other_rows_wait(tmp_path):
    learner = trained(tmp_path)
    key = learner.repository.holdout_key
    held_out = [row for row in blobs(40, seed=8) if is_held_out(key, np.array(row["inputs"], np.float32), 0.2)]
    update = learner.update(noise("z", 100, seed=5) + held_out)
    assert (update.verdict, update.version) == ("refused", None)
    assert (update.examples.quarantined, update.examples.pending) == (200, len(held_out))


def test_a_correction_that_is_set_aside_leaves_the_old_label_learned(tmp_path):
    learner = trained(tmp_path)
    known = blobs(150, seed=0)
    changed = [{**row, "label": "z"} for row in known[:160]]
    update = learner.update(changed + blobs(50, seed=6))
    assert update.promoted
    assert update.examples.quarantined == 160
    targets = {row.target for row in live_rows(learner, "train")}
    assert targets == {"a", "b"}
    assert len(live_rows(learner, "train")) + len(live_rows(learner, "held_out")) == 400
    statistics = read_statistics(learner.repository.read_state(update.version).statistics)
    assert float(to_sums(statistics, learner.champion().model.head).cross[-1].sum()) == len(live_rows(learner, "train"))


def test_a_dry_run_changes_no_byte(tmp_path):
    learner = trained(tmp_path)
    before = folder_hash(tmp_path)
    for rows in (blobs(40, seed=1, labels="abc"), relabelled(blobs(40, seed=2)), noise("z", 100, seed=3)):
        update = learner.update(rows, dry_run=True)
        assert (update.verdict, update.version, update.number) == ("undecided", None, None)
        assert update.reason.startswith("dry run")
        assert update.examples.trained > 0
    assert learner.update([{"inputs": [0, 0], "label": None}], dry_run=True).examples.rejected == 1
    assert folder_hash(tmp_path) == before


def test_events_come_in_order_and_end_with_the_report(tmp_path):
    learner = make(tmp_path, {"select.selection": "full", "train.stop.epochs": 2}, model=mlp(2, (8,), 64))
    events = list(learner.update_events(blobs(150, seed=0)))
    names = [type(event).__name__ for event in events]
    assert names[0] == "Screened"
    assert names[-3:] == ["Trained", "Stored", "Finished"]
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2]
    stored = next(event for event in events if isinstance(event, Stored))
    assert isinstance(events[-1], Finished)
    assert events[-1].update.version == stored.version


def test_rows_that_cannot_be_read_change_nothing(tmp_path):
    learner = trained(tmp_path)
    before = folder_hash(tmp_path)
    for source, error in (([], DataError), ([{"x": 1}], DataError), (tmp_path / "no.jsonl", DataError)):
        with pytest.raises(error):
            learner.update(source)
    with pytest.raises(UsageError):
        learner.update(blobs(5, seed=1), settings={"select.selection": "nose"})
    assert folder_hash(tmp_path) == before


def test_new_labels_grow_the_head_and_count_intrusion_apart(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(blobs(60, seed=1, labels="c"))
    assert update.promoted
    assert learner.champion().task.labels == ("a", "b", "c")
    assert 0 <= update.intrusion <= 1
    assert set(update.metrics.candidate.by_slice) == {"class a", "class b", "class c"}


def test_the_pending_rows_are_capped(tmp_path):
    learner = trained(tmp_path, {"store.pending": 15, "gate.mode": "better"})
    learner.update(blobs(5, seed=10))
    update = learner.update(blobs(5, seed=1))
    assert update.examples.pending == 15
    assert [item.number for item in book_of(learner).pending] == [3] * 5 + [4] * 10


def test_a_model_that_takes_any_shape_keeps_to_that_of_its_rows(tmp_path):
    model, spec = own_net(), ModelSpec("learner_samples:own_net")
    learner = make(tmp_path, {"gate.mode": "off"}, model=model, spec=spec)
    learner.update(blobs(20, seed=0))
    update = learner.update([{"inputs": [1, 2, 3], "label": "a"}, *blobs(5, seed=1)])
    assert update.examples.rejected == 1
    assert update.promoted


def test_handwritten_digits_in_three_stages(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    images, targets = datasets.load_digits(return_X_y=True)
    rows = [{"inputs": image, "label": int(target)} for image, target in zip(images, targets, strict=True)]
    learner = make(tmp_path, model=mlp(inputs=64, random_features=512))
    for labels in ({0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}):
        update = learner.update([row for row in rows[:1300] if row["label"] in labels])
        assert update.promoted, update.reason
    assert learner.champion().task.labels == tuple(range(10))
    assert learner.evaluate(rows[1300:])["metrics"]["accuracy"] > 0.9
