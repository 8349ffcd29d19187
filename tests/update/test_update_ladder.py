"""The ladder: what tunes the features, when it climbs, and how exact it stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dripstone.core.config import Config
from dripstone.core.events import Rebuilt
from dripstone.core.fork import changed_tensors
from dripstone.core.records import Look
from dripstone.models import mlp
from dripstone.models.factory import ModelSpec
from dripstone.train.features import features_of
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, no_rows
from dripstone.update import ladder, lesson
from dripstone.update.ladder import FIRST_ROWS, MANY_LABELS, _wins, evenly
from dripstone.update.selecting import choose_selection
from dripstone.update.training_state import load_state
from learner_samples import blobs, live_rows, make, own_net

FAST = {"train.learning_rate": 0.05}
"""Blocks begin at a fifth of it."""


def narrow():
    """Ten inputs through four units: features cannot serve classes that they were not tuned for."""
    return mlp(inputs=10, hidden=[16, 4], random_features=64)


def rows_along(axis, labels, count, seed):
    """Classes that differ along one input; the others are noise."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        for place, label in enumerate(labels):
            point = draw.normal(0, 1, 10)
            point[axis] += 8 * place - 4
            rows.append({"inputs": point.tolist(), "label": label})
    return rows


def backbone_moved(learner, update):
    old, new = (learner.champion(version).model for version in (update.parent, update.version))
    return any(name.startswith("backbone.") for name in changed_tensors(new, old))


def assert_exact(learner):
    """The live head is the batch solution over every training row so far, under the live features."""
    champion = learner.champion()
    examples = [row.example() for row in live_rows(learner, "train")]
    statistics = add_rows(
        no_rows(),
        champion.model.head,
        features_of(champion.model, [example.inputs for example in examples]),
        torch.from_numpy(champion.task.encode([example.target for example in examples])),
        torch.ones(len(examples), dtype=torch.float64),
    )
    weights = solve(statistics, champion.model.head, float(champion.model.head.penalty)).weights
    found = torch.cat([champion.model.head.weight.T, champion.model.head.bias[None]]).detach().double()
    torch.testing.assert_close(found, weights, atol=1e-5 * float(weights.abs().max()), rtol=1e-5)


def test_the_first_rows_tune_the_last_blocks(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    update = learner.update(rows_along(0, "ab", 200, seed=0))
    assert update.promoted
    assert update.selection == "suffix:2@adamw"
    assert [rung.selection for rung in update.rungs] == ["head@ridge", "suffix:2@adamw"]
    assert update.rungs[1].score >= update.rungs[0].score - 0.05
    assert update.look.score == update.rungs[1].score
    assert backbone_moved(learner, update)
    assert_exact(learner)


def test_after_that_the_head_alone_moves_while_it_keeps_up(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    first = learner.update(rows_along(0, "ab", 200, seed=0))
    update = learner.update(rows_along(0, "ab", 60, seed=1), gate="off")
    assert update.promoted
    assert update.selection == "head@ridge"
    assert update.look == first.look
    assert not backbone_moved(learner, update)
    assert_exact(learner)


def test_few_first_rows_leave_the_features_alone(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    update = learner.update(rows_along(0, "ab", FIRST_ROWS // 3, seed=0))
    assert update.promoted
    assert update.selection == "head@ridge"
    assert update.look.score == update.rungs[0].score
    assert not backbone_moved(learner, update)


def test_where_the_features_fall_behind_the_ladder_climbs_and_stays_exact(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    first = learner.update(rows_along(0, "ab", 200, seed=0))
    *events, finished = learner.update_events(rows_along(5, "cd", 150, seed=1))
    update = finished.update
    assert update.promoted
    assert update.selection.startswith("suffix:")
    assert Rebuilt(first.examples.trained + update.examples.trained) in events
    assert len(live_rows(learner, "train")) == first.examples.trained + update.examples.trained
    scores = {rung.selection: rung.score for rung in update.rungs}
    assert scores["head@ridge"] < first.look.score - 0.1
    assert scores[update.selection] > scores["head@ridge"] + 0.1
    assert update.look.score == scores[update.selection]
    assert backbone_moved(learner, update)
    assert_exact(learner)
    after = learner.update(rows_along(5, "cd", 40, seed=2), gate="off")
    assert after.promoted
    assert_exact(learner)


def test_a_climb_in_vain_is_not_made_again(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    learner.update(rows_along(0, "ab", 200, seed=0))
    noise = [{**row, "label": "cd"[i % 2]} for i, row in enumerate(rows_along(9, "x", 200, seed=3))]
    update = learner.update(noise, gate="off")
    assert len(update.rungs) > 1
    assert update.selection == "head@ridge"
    assert update.look.score == update.rungs[0].score
    again = [{**row, "label": "cd"[i % 2]} for i, row in enumerate(rows_along(9, "x", 200, seed=4))]
    assert len(learner.update(again, gate="off").rungs) == 1


def many(labels, count, seed):
    """Two labels along each input, which the untuned features of ``narrow`` cannot tell apart well."""
    rows = [rows_along(axis, labels[2 * axis : 2 * axis + 2], count, seed + axis) for axis in range(len(labels) // 2)]
    return [row for part in rows for row in part]


def test_few_labels_that_the_head_has_right_tune_nothing(tmp_path):
    learner = make(tmp_path, FAST, model=mlp(inputs=2, hidden=[16, 4], random_features=64))
    update = learner.update(blobs(200, seed=0, spread=0.05))
    assert [rung.selection for rung in update.rungs] == ["head@ridge"]
    assert update.look == Look(update.rungs[0].score, 2)


def test_five_times_as_many_labels_are_a_reason_to_look_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ladder, "BEHIND", 2.0)  # no other reason
    learner = make(tmp_path, FAST, model=narrow())
    assert learner.update(rows_along(0, "ab", 200, seed=0)).look.labels == 2
    four = learner.update(many("abcd", 60, seed=1), gate="off")
    assert (four.look.labels, len(four.rungs)) == (2, 1)
    ten = learner.update(many("abcdefghij", 60, seed=2), gate="off")
    assert ten.look.labels == 10
    assert len(ten.rungs) > 1
    assert_exact(learner)


def crowd(labels, count, seed):
    """So many labels, each around a place of its own."""
    draw = np.random.default_rng(seed)
    places = 3 * np.random.default_rng(0).normal(0, 1, (labels, 10))
    return [
        {"inputs": (places[label] + draw.normal(0, 0.3, 10)).tolist(), "label": f"{label:02}"}
        for _ in range(count)
        for label in range(labels)
    ]


@pytest.mark.parametrize("wins", [True, False])
def test_features_that_nobody_needs_are_not_computed(tmp_path, monkeypatch, wins):
    """Many first labels: the first pass ends below the blocks that will move, and what it left out comes later."""
    passes = []
    monkeypatch.setattr(lesson, "encode_and_record", lambda *given: passes.append(given))
    if not wins:
        monkeypatch.setattr(ladder, "_wins", lambda gains, by: False)
    learner = make(tmp_path, FAST, model=mlp(inputs=10, hidden=[32, 32, 32], random_features=64))
    update = learner.update(crowd(MANY_LABELS, 20, seed=1))
    assert update.promoted
    assert backbone_moved(learner, update) == wins
    assert update.selection == ("suffix:2@adamw" if wins else "head@ridge")
    assert not passes
    assert_exact(learner)
    assert learner.evaluate(crowd(MANY_LABELS, 5, seed=2))["metrics"]["accuracy"] > 0.9


def test_features_that_many_labels_tuned_need_only_not_do_worse():
    same, lost = torch.zeros(100), -torch.eye(100)[:40].sum(0)
    assert _wins(same, by=-1.0)
    assert not _wins(same, by=2.0)
    assert not _wins(lost, by=-1.0)
    assert _wins(-lost, by=2.0)


def test_rows_are_drawn_evenly_over_their_classes():
    targets = torch.tensor([0] * 90 + [1] * 30 + [2] * 5)
    drawn = targets[evenly(targets, 40, seed=0)]
    assert drawn.bincount().tolist() == [18, 17, 5] or drawn.bincount().tolist() == [17, 18, 5]
    assert len(evenly(targets, 1000, seed=0)) == 125
    assert len(evenly(targets[:0], 10, seed=0)) == 0


def test_what_the_features_were_good_for_is_rebuilt_from_the_records(tmp_path):
    learner = make(tmp_path, FAST, model=narrow())
    first = learner.update(rows_along(0, "ab", 200, seed=0))
    assert learner.update(rows_along(0, "ab", 60, seed=1), gate="off").promoted
    version, model = learner.champion().version, learner.champion().model
    kept = load_state(learner.repository, learner.config, version, model)
    for state in (learner.repository.path / "training" / "state").iterdir():
        state.unlink()
    rebuilt = load_state(learner.repository, learner.config, version, model)
    assert rebuilt.look == kept.look == first.look


def test_a_model_without_blocks_has_one_rung(tmp_path):
    learner = make(tmp_path)
    update = learner.update(blobs(300, seed=0))
    assert [rung.selection for rung in update.rungs] == ["head@ridge"]


def test_labels_that_came_with_the_model_leave_the_loop(tmp_path):
    champion = make(tmp_path, model=own_net(), spec=ModelSpec("learner_samples:own_net"), labels=["a", "b"]).champion()
    assert str(choose_selection(Config(), champion)) == "head@adamw"
    config = Config().override({"train.optimizer": "sgd"})
    assert str(choose_selection(config, champion)) == "head@sgd"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_the_rungs_step_as_the_configuration_says(tmp_path, optimizer):
    learner = make(tmp_path, FAST, model=narrow())
    update = learner.update(rows_along(0, "ab", 200, seed=0), optimizer=optimizer)
    assert update.rungs[-1].selection == f"suffix:2@{optimizer}"


def test_the_same_rows_give_the_same_version(tmp_path):
    updates = []
    for name in ("one", "two"):
        learner = make(tmp_path / name, FAST, model=narrow())
        updates.append(learner.update(rows_along(0, "ab", 200, seed=0)))
    assert updates[0].version == updates[1].version
