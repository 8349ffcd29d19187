"""Bad and odd input to the gate, through the real learner: what is refused, what waits, what is set aside alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dripstone.core.errors import DripstoneError, RaceLostError, UsageError
from dripstone.core.examples import is_held_out
from dripstone.core.records import Certificate, Update
from dripstone.gate.evidence import level
from dripstone.learner import Learner
from dripstone.store.refs import Log
from dripstone.store.state import TrainingState
from dripstone.update import ladder
from dripstone.update.moves import admit
from dripstone.update.training_state import load_state
from learner_samples import blobs, book_of, live_rows, make, quarantined, relabelled, scores, trained

CLASSES = "abcd"


def numbered(rows: list[dict], start: int = 0, **columns) -> list[dict]:
    """Rows with ids of their own, and further columns."""
    return [{**row, "id": str(start + number), **columns} for number, row in enumerate(rows)]


def learned(folder, settings: dict | None = None, labels: str = CLASSES, rows: int = 150) -> Learner:
    learner = make(folder, settings)
    assert learner.update(blobs(rows, 0, labels)).promoted
    return learner


def named(rows: list[dict], label: str) -> list[dict]:
    return [{**row, "label": label} for row in rows]


def state_of(learner: Learner) -> TrainingState:
    champion = learner.champion()
    return load_state(learner.repository, learner.config, champion.version, champion.model)


def judged(learner: Learner) -> Certificate:
    """The certificate of the candidate that the last update judged."""
    entry = learner.log()[0]
    return learner.repository.read_certificate(entry.candidate, entry.judged)


def targets_aside(learner: Learner) -> set:
    repository = learner.repository
    return {repository.read_page(page).rows[index].target for page, index in quarantined(learner)}


def candidates_tested(learner: Learner) -> int:
    return book_of(learner).tested


def untouched(learner: Learner, live: str, before: torch.Tensor) -> bool:
    return learner.log()[0].version == live and torch.equal(scores(learner), before)


# Rows that say nothing


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("steady", "0 held-out rows of the 50 that a decision takes"), ("better", "there are no held-out rows to judge")],
)
def test_without_a_held_out_row_nothing_is_decided(tmp_path, mode, reason):
    learner = make(tmp_path, {"gate.holdout": 1e-9, "gate.mode": mode})
    update = learner.update(blobs(40, seed=0))
    assert (update.verdict, update.evidence.rows, update.examples.pending) == ("undecided", 0, 80)
    assert update.reason.startswith(reason)
    assert (candidates_tested(learner), update.metrics.candidate.accuracy) == (0, None)


@pytest.mark.parametrize(("mode", "verdict"), [("steady", "promoted"), ("better", "undecided")])
def test_where_all_predictions_are_equal_nothing_is_proven(tmp_path, mode, verdict):
    learner = make(tmp_path)
    assert learner.update(blobs(150, 0, "a")).promoted
    update = learner.update(blobs(150, 1, "a"), gate=mode)
    assert (update.verdict, update.evidence.wealth, update.evidence.discordant) == (verdict, 1.0, 0)
    assert (update.flips.negative, update.flips.positive, update.harm.worse) == (0, 0, 0)
    assert judged(learner).next_anchor == update.parent


def spoil(monkeypatch, change):
    """Every candidate from now on leaves training with a changed output layer."""
    real = ladder.train_candidate

    def spoiled(*args):
        candidate = yield from real(*args)
        with torch.no_grad():
            change(candidate.model.head)
        return candidate

    monkeypatch.setattr(ladder, "train_candidate", spoiled)


def no_numbers(head):
    head.bias.fill_(float("nan"))


def lose_the_first_class(head):
    head.bias[0] -= 100


def flatten(head):
    """The same answers, less surely."""
    head.weight *= 0.02
    head.bias *= 0.02


def test_a_candidate_without_numbers_is_refused_and_its_rows_wait(tmp_path, monkeypatch):
    learner = trained(tmp_path)
    live, before, spent = learner.log()[0].version, scores(learner), candidates_tested(learner)
    rows = blobs(40, seed=1)
    with monkeypatch.context() as patch:
        spoil(patch, no_numbers)
        update = learner.update(rows)
    assert (update.verdict, update.version, update.promoted) == ("refused", None, False)
    assert "no finite number" in update.reason
    assert "lower train.learning_rate" in update.reason
    assert (update.examples.pending, update.examples.quarantined) == (80, 0)
    assert untouched(learner, live, before)
    assert candidates_tested(learner) == spent
    again = learner.update(rows)
    assert again.promoted
    assert again.examples.trained + again.examples.held_out == 80


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_a_first_candidate_without_numbers_does_not_become_live(tmp_path, monkeypatch, metric):
    learner = make(tmp_path, {"task.metric": metric})
    live = learner.log()[0].version
    with monkeypatch.context() as patch:
        spoil(patch, no_numbers)
        update = learner.update(blobs(150, seed=0))
    assert (update.verdict, learner.log()[0].version) == ("refused", live)
    assert (update.examples.pending, update.examples.quarantined) == (300, 0)
    assert learner.update(blobs(150, seed=0)).promoted


def test_no_project_is_made_with_a_first_version_without_numbers(tmp_path, monkeypatch):
    spoil(monkeypatch, no_numbers)
    with pytest.raises(DripstoneError, match="finite"):
        make(tmp_path, data=blobs(150, seed=0))
    assert not (tmp_path / "project").exists()


# Trusted rows


def test_a_corrected_trusted_label_is_judged_as_a_fresh_row(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    assert learner.update(numbered(blobs(150, 0, CLASSES))).promoted
    before = state_of(learner).trusted
    wrong = before[0]
    corrected = {"id": wrong.id, "inputs": wrong.inputs.numpy().tolist(), "label": "b" if wrong.target == "a" else "a"}
    update = learner.update([corrected, *numbered(blobs(40, 1, CLASSES), start=1000)])
    assert update.promoted
    certificate = judged(learner)
    assert certificate.trusted.rows == len(before) - 1
    assert certificate.fresh.rows == update.evidence.rows == update.examples.held_out
    after = [row for row in state_of(learner).trusted if row.id == wrong.id]
    assert [row.target for row in after] == [corrected["label"]]
    assert [row.target for row in live_rows(learner, "held_out") if row.id == wrong.id] == [corrected["label"]]


def test_a_trusted_row_that_is_sent_again_is_known(tmp_path):
    learner = trained(tmp_path)
    again = [{"inputs": row.inputs.numpy().tolist(), "label": row.target} for row in state_of(learner).trusted]
    assert learner.update(again).verdict == "unchanged"


def test_near_duplicates_of_trusted_rows_are_never_learned(tmp_path):
    learner = make(tmp_path, {"task.id": "id"})
    # Numbers of 8 binary digits are in the middle of what the hash takes for the same.
    rows = [
        {**row, "inputs": (np.round(np.array(row["inputs"]) * 32) / 32 + 1 / 64).tolist()} for row in blobs(150, seed=0)
    ]
    unique = list({tuple(row["inputs"]): row for row in rows}.values())
    assert learner.update(numbered(unique)).promoted
    trusted = state_of(learner).trusted
    copies = [{"inputs": (row.inputs.numpy() * 1.00001).tolist(), "label": row.target} for row in trusted]
    update = learner.update(numbered(copies, start=10_000))
    assert (update.verdict, update.examples.trained, update.examples.held_out) == ("undecided", 0, len(trusted))
    assert update.reason == "every row so far is held out for judging; send more labelled rows"
    update = learner.update(numbered(blobs(40, seed=1), start=20_000))
    assert update.promoted
    learned_ids = {int(row.id) for row in live_rows(learner, "train")}
    assert not learned_ids & set(range(10_000, 20_000))
    assert update.evidence.rows > len(trusted)


def test_trusted_rows_leave_with_a_revert_and_come_back_with_it(tmp_path):
    learner = trained(tmp_path)
    first = {row.id for row in state_of(learner).trusted}
    update = learner.update(blobs(60, seed=1))
    assert update.promoted
    both = {row.id for row in state_of(learner).trusted}
    assert first < both
    learner.revert()
    assert {row.id for row in state_of(learner).trusted} == first
    learner.revert()
    assert learner.log()[0].version == update.version
    assert {row.id for row in state_of(learner).trusted} == both
    learner.update(blobs(60, seed=2))
    assert judged(learner).trusted.rows == len(both)


# Slices


def test_a_slice_of_one_row_decides_nothing(tmp_path):
    learner = make(tmp_path, {"task.slice": "place"})
    rows = blobs(150, seed=0)
    key = learner.repository.holdout_key
    held_out = next(r for r in rows if is_held_out(key, np.array(r["inputs"], np.float32), 0.2))
    rows = [{**row, "place": "mars" if row is held_out else None} for row in rows]
    update = learner.update(rows)
    assert update.promoted
    assert update.metrics.candidate.by_slice["slice mars"] in (0.0, 1.0)
    later = learner.update([{**row, "place": None} for row in blobs(60, seed=1)])
    assert later.promoted
    assert later.harm.slice != "slice mars"


def test_ten_thousand_slices_in_one_update(tmp_path):
    settings = {"task.slice": "place", "gate.holdout": 0.9, "gate.trusted": 20_000, "store.pending": 20_000}
    learner = make(tmp_path, settings)
    rows = [{**row, "place": f"place {number}"} for number, row in enumerate(blobs(5600, seed=0, spread=0.2))]
    update = learner.update(rows)
    assert update.promoted
    assert len(update.metrics.candidate.by_slice) > 10_000
    assert len(state_of(learner).trusted) > 10_000
    update = learner.update([{**row, "place": None} for row in blobs(300, seed=1, spread=0.2)])
    assert update.promoted
    assert update.harm.rows > 0
    assert len(update.metrics.champion.by_slice) > 10_000
    assert learner.repository.records(update.version)[-1] == update
    assert list(learner.repository.verify()) == []


# Weights and metrics


def weighted(rows: list[dict], weights) -> list[dict]:
    return [{**row, "weight": float(weight)} for row, weight in zip(rows, weights, strict=True)]


def test_rows_of_weight_zero_prove_and_decide_nothing(tmp_path):
    learner = make(tmp_path, {"task.weight": "weight"})
    rows = blobs(150, seed=0)
    key = learner.repository.holdout_key
    zero = [not is_held_out(key, np.array(row["inputs"], np.float32), 0.2) for row in rows]
    update = learner.update(weighted(rows, zero))
    assert (update.verdict, update.evidence.alpha_spent) == ("undecided", 0.0)
    assert update.reason.startswith("0 held-out rows of the 50 that a decision takes")
    assert (update.metrics.candidate.accuracy, candidates_tested(learner)) == (None, 0)


def test_one_weight_for_all_is_no_weight(tmp_path):
    rows = blobs(150, seed=0)
    plain = make(tmp_path / "plain").update(rows)
    heavy = make(tmp_path / "heavy", {"task.weight": "weight"}).update(weighted(rows, [5.0] * 300))
    assert heavy.promoted
    assert heavy.evidence == plain.evidence
    assert heavy.metrics.candidate.accuracy == plain.metrics.candidate.accuracy


@pytest.mark.parametrize("unit", [1 / 300, 1000.0])
def test_the_unit_of_the_weights_means_nothing(tmp_path, unit):
    weights = np.random.default_rng(3).uniform(0.5, 1.5, 300)
    found = []
    for folder, scale in ((tmp_path / "one", 1.0), (tmp_path / "other", unit)):
        learner = make(folder, {"task.weight": "weight", "gate.mode": "better"})
        found.append(learner.update(weighted(blobs(150, seed=0), scale * weights)))
    assert [update.verdict for update in found] == ["promoted", "promoted"]


def test_weights_of_held_out_rows_are_heard(tmp_path):
    learner = make(tmp_path, {"task.weight": "weight"})
    draw = np.random.default_rng(3)
    assert learner.update(weighted(blobs(150, 0, CLASSES), draw.uniform(0.5, 2, 600))).promoted
    heavy = learner.update(weighted(blobs(60, 2, CLASSES + "e"), draw.uniform(1, 50, 300)), gate="better")
    assert heavy.promoted
    assert heavy.reason.startswith("gain proven")
    assert list(learner.repository.verify()) == []


def test_a_single_heavy_trusted_row_does_not_blind_the_gate(tmp_path, monkeypatch):
    learner = make(tmp_path, {"task.weight": "weight"})
    rows = blobs(250, seed=0)
    key = learner.repository.holdout_key
    held_out = [row for row in rows if is_held_out(key, np.array(row["inputs"], np.float32), 0.2)]
    heavy = next(row for row in held_out if row["label"] == "b")
    assert learner.update(weighted(rows, [1e6 if row is heavy else 1.0 for row in rows])).promoted
    spoil(monkeypatch, lose_the_first_class)
    update = learner.update(weighted(blobs(100, seed=1), [1.0] * 200))
    assert (update.verdict, update.harm.slice) == ("refused", "class a")
    assert "got worse" in update.reason


def test_the_log_loss_from_end_to_end(tmp_path):
    learner = make(tmp_path, {"task.metric": "log_loss"})
    first = learner.update(blobs(150, 0, CLASSES, spread=1.2))
    assert first.reason.startswith("gain proven")
    assert 0.5 < first.metrics.candidate.score < 1.0
    second = learner.update(blobs(60, 1, CLASSES, spread=1.2))
    assert second.evidence.discordant > second.flips.negative + second.flips.positive
    assert second.evidence.discordant > 0.9 * second.evidence.rows
    assert judged(learner).rules.metric == "log_loss"
    grown = learner.update(blobs(100, 2, CLASSES + "e", spread=1.2), gate="off")
    assert grown.metrics.candidate.score > grown.metrics.champion.score
    assert list(learner.repository.verify()) == []


@pytest.mark.parametrize(("metric", "verdict"), [("accuracy", "promoted"), ("log_loss", "refused")])
def test_probabilities_that_get_worse_are_harm_by_log_loss_alone(tmp_path, monkeypatch, metric, verdict):
    learner = learned(tmp_path, {"task.metric": metric}, rows=250)
    live = learner.log()[0].version
    spoil(monkeypatch, flatten)
    update = learner.update(blobs(60, 1, CLASSES))
    assert (update.verdict, update.flips.negative) == (verdict, 0)
    assert (learner.log()[0].version == live) == (verdict == "refused")
    if verdict == "refused":
        assert (update.harm.worse, candidates_tested(learner)) == (update.harm.rows, 1)


# Limits

BROKEN = {
    "negative_flips": (1e-9, "of gate.limits; the rows wait"),
    "calibration_error": (1e-9, "the calibration error is 0."),
    "latency_ratio": (1e-9, "a row takes "),
}


@pytest.mark.parametrize("limit", sorted(BROKEN))
@pytest.mark.parametrize("way", ["file", "settings"])
def test_a_limit_that_is_broken_makes_rows_wait(tmp_path, limit, way):
    learner = make(tmp_path)
    rough = {"labels": CLASSES, "spread": 1.4}
    assert learner.update(blobs(100, 0, **rough)).promoted
    live, spent = learner.log()[0].version, candidates_tested(learner)
    value, reason = BROKEN[limit]
    settings = None
    if way == "file":
        path = learner.project / "dripstone.toml"
        path.write_text(path.read_text() + f"\n[gate.limits]\n{limit} = {value}\n")
        learner = Learner.open(learner.project)
    else:
        settings = {"gate.limits": {limit: value}}
    update = learner.update(blobs(100, 1, **rough), settings=settings)
    assert (update.verdict, learner.log()[0].version) == ("undecided", live)
    assert reason in update.reason
    assert update.reason.endswith("of gate.limits; the rows wait")
    assert (update.examples.pending, candidates_tested(learner)) == (400, spent)
    assert (update.evidence.alpha_spent, update.metrics.candidate.latency_ms is None) == (0.0, limit != "latency_ratio")
    free = learner.update(blobs(30, 2, **rough), settings={"gate.limits": {}, "gate.mode": "off"})
    assert free.promoted
    assert free.examples.trained + free.examples.held_out == 520


def test_limits_that_are_kept_change_nothing(tmp_path):
    wide = {"gate.limits": {"negative_flips": 0.5, "calibration_error": 0.9, "latency_ratio": 1e6}}
    learner = make(tmp_path, wide)
    assert learner.update(blobs(150, seed=0)).promoted
    again = Learner.open(learner.project)
    assert again.config.gate.limits.latency_ratio == 1e6
    assert again.update(blobs(60, seed=1)).promoted


@pytest.mark.parametrize("limits", [{"negative_flips": 2}, {"latency_ratio": -1}, {"nose": 1}, "0.1"])
def test_limits_that_make_no_sense_are_an_error(tmp_path, limits):
    learner = make(tmp_path)
    with pytest.raises(UsageError, match=r"gate"):
        learner.update(blobs(5, seed=0), settings={"gate.limits": limits})


# Rows that are set aside


def test_a_mislabelled_class_is_quarantined_alone_and_can_be_admitted(tmp_path):
    learner = learned(tmp_path, labels="abcdf")
    moved = named(blobs(40, 1, "e"), "b")  # class b has moved to where nobody was
    update = learner.update(moved + blobs(40, 2, "acd"))
    assert update.promoted
    assert "besides, the rows labelled b agree with the live version on" in update.reason
    assert (update.examples.quarantined, targets_aside(learner)) == (40, {"b"})
    assert update.examples.trained + update.examples.held_out == 120
    assert not {row.id for row in live_rows(learner, "train") if row.target == "b"} & {
        r.id for r in aside_rows(learner)
    }
    admit(learner.repository, quarantined(learner))
    again = learner.update(blobs(40, 3, "acd"))
    assert again.promoted
    assert "a person admitted 40 rows of it" in again.reason
    assert "agree with the live version" not in again.reason
    assert quarantined(learner) == []
    asked = [row["inputs"] for row in blobs(30, 4, "e")]
    assert learner.predict(asked).count("b") > 25


def aside_rows(learner: Learner) -> list:
    return [learner.repository.read_page(page).rows[index] for page, index in quarantined(learner)]


def test_rows_that_wait_are_not_set_aside_with_a_mislabelled_class_that_arrives(tmp_path):
    learner = learned(tmp_path)
    waiting = blobs(15, 1, CLASSES)
    assert learner.update(waiting, gate="better").verdict == "undecided"
    update = learner.update(named(blobs(40, 2, "d"), "b") + blobs(40, 3, "acd"))
    assert update.promoted
    assert update.examples.quarantined == 40
    honest = {tuple(np.float32(row["inputs"])) for row in waiting}
    assert not honest & {tuple(row.inputs.numpy()) for row in aside_rows(learner)}


def test_a_new_label_that_steals_is_quarantined_alone(tmp_path):
    learner = learned(tmp_path)
    before = len(live_rows(learner, "train"))
    update = learner.update(named(blobs(150, 1, "a"), "z") + blobs(40, 2, "bcd"))
    assert update.promoted
    assert "besides, the new label z takes" in update.reason
    assert "right answers of class a" in update.reason
    assert (update.examples.quarantined, targets_aside(learner)) == (150, {"z"})
    assert learner.champion().task.labels == tuple(CLASSES)
    assert update.new_labels == []
    assert len(live_rows(learner, "train")) == before + update.examples.trained
    assert candidates_tested(learner) == 2  # the candidate with the label was not put to the test
    admit(learner.repository, quarantined(learner))
    again = learner.update(blobs(40, 3, "bcd"), gate="off")
    assert learner.champion().task.labels == (*CLASSES, "z")
    assert again.promoted


def test_an_honest_new_label_beside_a_thief_is_learned(tmp_path):
    learner = learned(tmp_path)
    update = learner.update(named(blobs(150, 1, "a"), "z") + blobs(80, 2, "ef"))
    assert update.promoted
    assert update.new_labels == ["e", "f"]
    assert targets_aside(learner) == {"z"}


# The best version so far


def test_a_promotion_by_hand_pins_the_anchor(tmp_path, monkeypatch):
    learner = learned(tmp_path)
    with monkeypatch.context() as patch:
        spoil(patch, lose_the_first_class)
        refused = learner.update(blobs(60, 1, CLASSES))
    assert (refused.verdict, refused.harm.slice) == ("refused", "class a")
    entry = learner.promote(refused.version, "class a is gone")
    certificate = learner.repository.certificate_of(entry)
    assert (certificate.source, certificate.next_anchor) == ("person", refused.version)
    assert state_of(learner).anchor == refused.version
    assert quarantined(learner) == []
    update = learner.update(blobs(60, 2, "bcd"))
    assert update.anchor == refused.version == judged(learner).anchor
    assert list(learner.repository.verify()) == []


def test_later_updates_are_held_against_the_version_that_a_person_chose(tmp_path, monkeypatch):
    learner = learned(tmp_path)
    waiting = learner.update(blobs(60, 1, CLASSES), gate="better")
    assert waiting.verdict == "undecided"
    learner.promote(waiting.version, "seen by hand")
    spoil(monkeypatch, lose_the_first_class)
    worse = learner.update(blobs(20, 2, CLASSES), gate="off")
    assert worse.promoted
    assert worse.metrics.candidate.by_slice["class a"] == 0.0
    assert (worse.anchor, judged(learner).next_anchor) == (waiting.version, waiting.version)
    update = learner.update(blobs(20, 3, CLASSES))
    assert (update.verdict, update.anchor) == ("refused", waiting.version)
    assert (update.harm.against, update.harm.slice, update.harm.better) == ("anchor", "class a", 0)
    assert "got worse than with the best version so far" in update.reason
    assert list(learner.repository.verify()) == []


# Alpha is counted once a tested candidate


def test_each_tested_candidate_counts_once_and_no_other(tmp_path, monkeypatch):
    learner = trained(tmp_path)
    assert candidates_tested(learner) == 1
    undecided = learner.update(blobs(60, seed=1), gate="better")
    assert (undecided.verdict, candidates_tested(learner)) == ("undecided", 2)
    assert undecided.evidence.alpha_spent == pytest.approx(level(0.05, 2))
    assert learner.update(blobs(60, seed=1), gate="better").verdict == "unchanged"
    assert candidates_tested(learner) == 2
    by_sense = learner.update(relabelled(blobs(40, seed=2)))
    assert (by_sense.verdict, candidates_tested(learner)) == ("refused", 2)
    with monkeypatch.context() as patch:
        spoil(patch, lose_the_first_class)
        by_harm = learner.update(blobs(60, seed=3))
    assert (by_harm.verdict, by_harm.version is not None, candidates_tested(learner)) == ("refused", True, 2)
    assert learner.update(blobs(60, seed=4), dry_run=True).evidence.alpha_spent == 0
    assert learner.update(blobs(60, seed=4), gate="off").promoted
    assert candidates_tested(learner) == 2
    last = learner.update(blobs(60, seed=5))
    assert (last.promoted, last.evidence.alpha_spent) == (True, pytest.approx(level(0.05, 3)))
    assert judged(learner).rules.tested == 2
    assert candidates_tested(learner) == 3


def test_the_loser_of_a_race_spends_nothing(tmp_path):
    learner = trained(tmp_path)
    winner, loser = Learner.open(learner.project), Learner.open(learner.project)
    events = loser.update_events(blobs(60, seed=1))
    while type(next(events)).__name__ != "Stored":
        pass
    assert winner.update(blobs(60, seed=2)).promoted
    with pytest.raises(RaceLostError):
        list(events)
    assert (candidates_tested(learner), len(learner.log())) == (2, 3)
    again = loser.update(blobs(60, seed=1))
    assert again.evidence.alpha_spent == pytest.approx(level(0.05, 3))
    assert candidates_tested(learner) == 3
    assert list(learner.repository.verify()) == []


def test_a_crash_between_judgement_and_commit_spends_nothing(tmp_path, monkeypatch):
    learner = trained(tmp_path)
    rows = blobs(60, seed=1)
    with monkeypatch.context() as patch:

        def crash(self, entry):
            raise KeyboardInterrupt

        patch.setattr(Log, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            learner.update(rows)
    assert (candidates_tested(learner), len(learner.log())) == (1, 2)
    again = Learner.open(learner.project)
    update: Update = again.update(rows)
    assert update.promoted
    assert update.evidence.alpha_spent == pytest.approx(level(0.05, 2))
    assert (candidates_tested(again), len(again.log())) == (2, 3)
    assert list(again.repository.verify()) == []
