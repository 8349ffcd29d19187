"""The whole life of a model of numbers: what it learns, what is refused, corrected, reverted, audited."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dripstone.core.errors import DataError, UsageError
from dripstone.core.examples import content_id
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.update.audit import audit
from dripstone.update.training_state import load_state
from number_samples import law, make_numbers, measured


def weights_of(learner):
    head = learner.champion().model.head
    return (head.scale * head.weight).detach().numpy(), (head.scale * head.bias).detach().numpy()


def test_updates_learn_a_law_and_say_how_well(tmp_path):
    learner = make_numbers(tmp_path)
    first = learner.update(measured(300, seed=1))
    assert (first.verdict, first.selection) == ("promoted", "head@ridge")
    second = learner.update(measured(300, seed=2))
    assert second.verdict == "promoted"
    assert second.metrics.candidate.fresh_rmse == pytest.approx(0.55, abs=0.15)
    assert second.metrics.champion.rmse is not None
    assert first.metrics.champion.rmse is None  # nobody had answered before
    assert first.new_labels == second.new_labels == []
    found = learner.evaluate(measured(500, seed=3))["metrics"]
    assert found["rmse"] == pytest.approx(0.55, abs=0.1)
    assert found["mae"] < found["rmse"]
    assert found["r2"] > 0.97
    points = np.array([[0.5, 0.5], [-1.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(learner.predict(points), law(points.astype(float)), atol=0.5)
    row = learner.predict_scores(points[:1])[0]
    assert row["scores"]["usual_error"] == pytest.approx(0.55, abs=0.2)


def test_stages_give_what_one_batch_gives(tmp_path):
    rows = measured(400, seed=1)
    chosen = {"gate.mode": "off", "train.ridge": 0.1}
    staged, whole = make_numbers(tmp_path / "a", chosen), make_numbers(tmp_path / "b", chosen)
    # Width and scale of the columns are those of the first stage: the same for both.
    staged.update(rows[:200])
    staged.update(rows[200:])
    whole.update(rows[:200])
    kept = whole.champion().version
    whole.revert()
    whole.promote(kept, "the same first stage")
    whole.update(rows[200:])
    for mine, theirs in zip(weights_of(staged), weights_of(whole), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_wrong_numbers_are_refused_and_a_proven_gain_is_promoted(tmp_path):
    learner = make_numbers(tmp_path)
    learner.update(measured(400, seed=1))
    live = learner.champion().version
    shuffled = measured(300, seed=2)
    draw = np.random.default_rng(0)
    for row, value in zip(shuffled, draw.permutation([row["label"] for row in shuffled]), strict=True):
        row["label"] = float(value)
    refused = learner.update(shuffled)
    assert refused.verdict == "refused"
    assert refused.examples.quarantined == 300
    moved = learner.update(measured(300, seed=3, shift=20.0))
    assert moved.verdict == "refused"
    assert learner.champion().version == live


def test_small_harm_everywhere_is_shown(tmp_path):
    learner = make_numbers(tmp_path, {"gate.sense": 0.9})
    learner.update(measured(1500, seed=1))
    learner.update(measured(1500, seed=2))
    harmful = learner.update(measured(3000, seed=3, shift=1.5))
    assert harmful.verdict != "promoted"


def test_a_correction_replaces_what_was_learned(tmp_path):
    chosen = {"task.id": "id", "gate.mode": "off", "train.ridge": 0.1}
    rows = [{**row, "id": str(number)} for number, row in enumerate(measured(200, seed=1))]
    wrong = [dict(row, label=row["label"] + 30) if number < 20 else row for number, row in enumerate(rows)]
    corrected, right = make_numbers(tmp_path / "a", chosen), make_numbers(tmp_path / "b", chosen)
    corrected.update(wrong)
    corrected.update(rows[:20])
    right.update(rows)
    for mine, theirs in zip(weights_of(corrected), weights_of(right), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)


def test_two_numbers_of_one_input_are_two_rows_and_neither_duplicates_nor_conflicts(tmp_path):
    learner = make_numbers(tmp_path, {"curate.policy": "screen+dedupe+replay:100", "gate.mode": "off"})
    rows = measured(100, seed=1)
    again = [{**row, "label": row["label"] + 0.25} for row in rows]
    update = learner.update(rows + again + rows[:10])
    assert update.examples.rejected == 10
    assert update.examples.trained + update.examples.held_out == 200


def test_a_revert_brings_back_the_old_answers_and_the_state_is_rebuilt(tmp_path):
    learner = make_numbers(tmp_path, {"gate.mode": "off"})
    learner.update(measured(200, seed=1))
    before = learner.predict([[0.3, 0.4]])
    learner.update(measured(200, seed=2))
    learner.revert()
    assert learner.predict([[0.3, 0.4]]) == before
    champion = learner.champion()
    kept = load_state(learner.repository, learner.config, champion.version, champion.model)
    for file in (learner.repository.path / "training" / "state").rglob("*"):
        if file.is_file():
            file.unlink()
    rebuilt = load_state(learner.repository, learner.config, champion.version, champion.model)
    assert [row.id for row in rebuilt.trusted] == [row.id for row in kept.trusted]
    assert rebuilt.trusted_marks == kept.trusted_marks
    assert learner.update(measured(200, seed=3)).promoted


def test_every_judgement_of_numbers_can_be_made_again(tmp_path):
    learner = make_numbers(tmp_path)
    for seed in range(4):
        learner.update(measured(150, seed=seed))
    learner.update(measured(150, seed=9, shift=15.0))
    assert list(audit(learner.repository, learner.config)) == []


@pytest.mark.parametrize("select", ["head@adamw", "full", "suffix:1@adamw"])
def test_the_loop_goes_on_from_the_closed_form(tmp_path, select):
    learner = make_numbers(tmp_path, {"gate.mode": "off"}, model=mlp(2, hidden=(32,), random_features=64))
    learner.update(measured(300, seed=1))
    before = learner.evaluate(measured(500, seed=3))["metrics"]["rmse"]
    settings = {"train.retain.ewc": 1.0, "train.retain.l2": 0.01, "curate.policy": "screen+prune+replay:100"}
    update = learner.update(measured(600, seed=2), select=select, settings=settings)
    assert update.selection.startswith(select)
    after = learner.evaluate(measured(500, seed=3))["metrics"]["rmse"]
    assert after < before + 0.1


def test_the_ladder_has_one_rung_and_drift_is_watched(tmp_path):
    learner = make_numbers(tmp_path, {"curate.policy": "screen+drift+forget:400+replay:200"})
    for seed in range(3):
        update = learner.update(measured(300, seed=seed))
        assert [rung.selection for rung in update.rungs] == ["head@ridge"]
    assert learner.update(measured(300, seed=7, shift=10.0)).drift.errors


def test_trusted_rows_are_the_newest_where_there_are_no_labels(tmp_path):
    learner = make_numbers(tmp_path, {"gate.trusted": 60, "gate.mode": "off"})
    for seed in range(3):
        update = learner.update(measured(200, seed=seed))
    newest = {content_id(np.float32(row["inputs"]), row["label"]) for row in measured(200, seed=2)}
    trusted = learner.repository.read_state(update.version).trusted
    assert len(trusted) == 60
    assert sum(row.id in newest for row in trusted) > 30


def test_slices_are_watched_and_measured(tmp_path):
    learner = make_numbers(tmp_path, {"task.slice": "place"})
    rows = [{**row, "place": "ab"[number % 2]} for number, row in enumerate(measured(400, seed=1))]
    learner.update(rows)
    found = learner.evaluate(rows)["metrics"]["by_slice"]
    assert set(found) == {"slice a", "slice b"}
    assert all(0 < value < 1 for value in found.values())


BAD = [
    ("five", "the target is of type str, not a number"),
    ("", "the target is missing"),
    (None, "the target is missing"),
    (True, "the target is of type bool, not a number"),
    (math.nan, "the target is NaN, infinite or beyond 1e30"),
    (-math.inf, "the target is NaN, infinite or beyond 1e30"),
    (1e31, "the target is NaN, infinite or beyond 1e30"),
    (10**400, "the target is of type int, not a number"),
    ([1.0, 2.0], "the target is of type list, not a number"),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_what_is_no_number_is_rejected_alone(tmp_path, value, reason):
    learner = make_numbers(tmp_path)
    rows = measured(100, seed=1)
    rows[3]["label"] = value
    update = learner.update(rows)
    assert update.verdict == "promoted"
    assert update.rejections == {reason: 1}
    assert learner.update([{"inputs": [0.1, 0.2], "label": value}]).verdict == "undecided"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"curate.policy": "screen+noise+replay:10"}, "noise goes by labels"),
        ({"curate.policy": "screen+weight+replay:10"}, "weight goes by labels"),
        ({"curate.policy": "screen:known+replay:10"}, "screen:known goes by labels"),
        ({"curate.policy": "screen+replay:10:balanced"}, "replay:10:balanced goes by labels"),
        ({"curate.policy": "screen+replay:10:herding"}, "replay:10:herding goes by labels"),
        ({"train.retain.distill": 1.0}, "hold the scores of labels"),
        ({"task.metric": "accuracy"}, "the metric 'accuracy' does not measure regression"),
    ],
)
def test_what_asks_for_labels_is_refused(tmp_path, settings, words):
    learner = make_numbers(tmp_path)
    live = learner.champion().version
    with pytest.raises(UsageError, match=words):
        learner.update(measured(50, seed=1), settings=settings)
    assert learner.champion().version == live


def test_a_metric_of_numbers_does_not_measure_labels(tmp_path):
    learner = Learner.create(tmp_path / "p", model=mlp(2), settings={"task.metric": "squared_error"})
    with pytest.raises(UsageError, match=r"set task\.metric to accuracy or log_loss"):
        learner.update([{"inputs": [0.0, 1.0], "label": "a"}])


def test_labels_and_unknown_tasks_are_refused_at_the_start(tmp_path):
    with pytest.raises(UsageError, match="leave labels= out"):
        make_numbers(tmp_path, labels=["value"])
    with pytest.raises(UsageError, match="there is no task 'ranking'"):
        Learner.create(tmp_path / "p", model=mlp(2), task="ranking")
    assert not (tmp_path / "p").exists()


def test_before_the_first_row_there_is_nothing_to_ask(tmp_path):
    learner = make_numbers(tmp_path)
    with pytest.raises(UsageError, match="knows no number yet"):
        learner.predict([[0.0, 1.0]])
    with pytest.raises(UsageError, match="has learned no number yet"):
        learner.evaluate(measured(5, seed=1))


def test_rows_to_measure_need_numbers(tmp_path):
    learner = make_numbers(tmp_path)
    learner.update(measured(100, seed=1))
    with pytest.raises(DataError, match="is no number to measure by; give every row a finite number"):
        learner.evaluate([{"inputs": [0.0, 1.0], "label": "five"}])


def test_numbers_of_a_table_are_read_from_its_text(tmp_path):
    learner = make_numbers(tmp_path, input=["a", "b"], target="y")
    rows = measured(120, seed=1)
    lines = ["a,b,y", *(f"{row['inputs'][0]},{row['inputs'][1]},{row['label']}" for row in rows)]
    (tmp_path / "day.csv").write_text("\n".join(lines))
    assert learner.update(tmp_path / "day.csv").verdict == "promoted"
    text = (tmp_path / "project" / "dripstone.toml").read_text()
    assert 'kind = "regression"' in text
    assert 'metric = "squared_error"' in text


def test_versions_differ_by_answers_that_moved_more_than_usual(tmp_path):
    learner = make_numbers(tmp_path, {"gate.mode": "off"})
    old = learner.update(measured(200, seed=1)).version
    new = learner.update(measured(400, seed=2, shift=5.0)).version
    flips = learner.diff(old, new)["flips"]
    assert flips["better"] + flips["worse"] + flips["other"] == len(flips["flipped"]) > 0
    assert learner.diff(old, old)["flips"]["flipped"] == []
