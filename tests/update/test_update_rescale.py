"""A new scale: when it comes, what it is worth, and that nothing else is disturbed by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dripstone.core.bits import from_raw
from dripstone.core.events import Rescaled
from dripstone.core.fork import changed_tensors
from dripstone.curate.policy import parse_policy
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.serve.follow import load
from dripstone.train.features import features_of
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, no_rows, read_statistics, to_sums
from dripstone.update import flow, trial
from dripstone.update import rescale as rescaling
from dripstone.update.audit import audit
from dripstone.update.training_state import fresh_statistics, load_state, trained_rows
from learner_samples import live_rows, make

COLUMNS = 3


def january(count: int, seed: int) -> list[dict]:
    """Money tells the labels apart; the third column does not vary."""
    return rows_of(count, seed, varying=False)


def later(count: int, seed: int) -> list[dict]:
    """The third column, between 0 and 1, tells the labels apart, and money no longer does."""
    return rows_of(count, seed, varying=True)


def rows_of(count: int, seed: int, *, varying: bool) -> list[dict]:
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = "ab"[i % 2]
        sign = 1 if label == "a" else -1
        money = draw.normal(0, 900) + (0 if varying else 900 * sign)
        share = 0.5 + varying * (0.2 * sign + draw.normal(0, 0.08))
        inputs = [money, draw.normal(0, 300), share]
        rows.append({"inputs": inputs, "label": label, "id": f"{seed}-{i}"})
    return rows


def net(**given):
    return mlp(inputs=COLUMNS, random_features=64, **given)


def begun(folder, **settings) -> Learner:
    """A learner that has learned a hundred rows or so of January."""
    learner = make(folder, {"task.id": "id", "gate.mode": "off", **settings}, model=net())
    assert learner.update(january(130, seed=0)).promoted
    return learner


def grown(folder, **settings) -> Learner:
    """The same with later rows, which have passed a power of two."""
    learner = begun(folder, **settings)
    assert is_rescaled(learner, learner.update(later(300, seed=1)))
    return learner


def is_rescaled(learner, update) -> bool:
    moved = changed_tensors(learner.champion(update.version).model, learner.champion(update.parent).model)
    return "preprocess.scale" in moved


def state_of(learner, version=None):
    champion = learner.champion(version)
    return load_state(learner.repository, learner.config, champion.version, champion.model)


def accuracy(learner, rows) -> float:
    answers = learner.predict([np.array(row["inputs"], dtype="f4") for row in rows])
    return float(np.mean([answer == row["label"] for answer, row in zip(answers, rows, strict=True)]))


def assert_exact(learner) -> None:
    """The live head is the ridge over every training row so far, at the live scale."""
    model, task = learner.champion().model, learner.champion().task
    rows = [row.example() for row in live_rows(learner, "train")]
    features = features_of(model, [row.inputs for row in rows])
    targets = torch.from_numpy(task.encode([row.target for row in rows]))
    weights = torch.ones(len(rows), dtype=torch.float64)
    solution = solve(add_rows(no_rows(), model.head, features, targets, weights), model.head, float(model.head.penalty))
    found = torch.cat([model.head.weight.T, model.head.bias[None]]).detach().double()
    torch.testing.assert_close(found, solution.weights, atol=1e-5 * float(solution.weights.abs().max()), rtol=1e-5)


def assert_measured(learner) -> None:
    """The live version's moments are those of all rows that it was trained on."""
    model = learner.champion().model
    rows = np.array([row.example().inputs for row in live_rows(learner, "train")], dtype=np.float64)
    moments = state_of(learner).moments
    assert from_raw(moments["rows"]).item() == len(rows)
    np.testing.assert_allclose(from_raw(moments["mean"]).numpy(), rows.mean(axis=0), rtol=1e-9)
    deviation = np.sqrt(from_raw(moments["powers"]).numpy()[0] / len(rows))
    np.testing.assert_allclose(deviation, rows.std(axis=0), rtol=1e-7, atol=1e-9)
    assert not model.preprocess.badly_scaled(model.preprocess.measure(list(rows.astype("f4"))))


def test_a_column_that_did_not_vary_at_first_is_seen_at_the_power_of_two(tmp_path, monkeypatch):
    learner = begun(tmp_path)
    few = learner.update(later(8, seed=9))
    assert not is_rescaled(learner, few)
    *events, finished = learner.update_events(later(300, seed=1))
    update = finished.update
    trained = len(live_rows(learner, "train"))
    assert is_rescaled(learner, update)
    assert Rescaled(1, trained) in events
    assert str(Rescaled(1, trained)).startswith("scale set anew, badly off for 1 column; head solved over all ")
    assert [rung.selection for rung in update.rungs] == ["head@ridge", "head@ridge at a new scale"]
    assert update.rungs[1].score > update.rungs[0].score + 0.1
    assert update.reason.endswith("; besides, the candidate's columns have a new scale")
    assert update.selection == "head@ridge"
    assert_exact(learner)
    assert_measured(learner)

    monkeypatch.setattr(rescaling, "FEWEST", 2**40)
    without = begun(tmp_path / "without")
    without.update(later(8, seed=9))
    assert len(without.update(later(300, seed=1)).rungs) == 1
    assert accuracy(learner, later(400, seed=2)) > accuracy(without, later(400, seed=2)) + 0.1


def test_the_delta_holds_scale_and_head_alone(tmp_path):
    learner = begun(tmp_path)
    update = learner.update(later(300, seed=1))
    moved = changed_tensors(learner.champion(update.version).model, learner.champion(update.parent).model)
    assert {"preprocess.shift", "preprocess.scale", "head.weight", "head.bias", "head.expansion.width"} <= moved.keys()
    assert all(name.startswith(("preprocess.", "head.")) for name in moved)
    assert not {"head.expansion.projection", "head.expansion.phase"} & moved.keys()


def test_what_is_served_answers_as_the_candidate_did(tmp_path, monkeypatch):
    trained_models = []
    store = flow.store_candidate
    monkeypatch.setattr(flow, "store_candidate", lambda *args: trained_models.append(args[1].model) or store(*args))
    learner = grown(tmp_path)
    inputs = [np.array(row["inputs"], dtype="f4") for row in later(50, seed=3)]
    served = load(learner.repository, learner.repository.log.head())
    models = [trained_models[-1], served.model, Learner.open(learner.project).champion().model]
    with torch.no_grad():
        candidate, *others = [model.eval()(model.collate(inputs)) for model in models]
    assert all(torch.equal(candidate, other) for other in others)


@pytest.mark.parametrize("selection", ["head@ridge", "ladder"])
def test_the_closed_form_sets_the_scale_whoever_asked_for_it(tmp_path, selection):
    learner = begun(tmp_path)
    assert is_rescaled(learner, learner.update(later(300, seed=1), select=selection))


@pytest.mark.parametrize("selection", ["head@adamw", "full"])
def test_loops_leave_the_scale(tmp_path, selection):
    learner = begun(tmp_path, **{"train.stop.epochs": 1})
    assert not is_rescaled(learner, learner.update(later(300, seed=1), select=selection))
    assert_exact_counts(learner)


def assert_exact_counts(learner) -> None:
    assert from_raw(state_of(learner).moments["rows"]).item() == len(live_rows(learner, "train"))


def test_layers_that_have_learned_keep_the_scale_that_they_learned_in(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off", "train.stop.epochs": 1}, model=net(hidden=[8]))
    learner.update(january(150, seed=0))
    assert state_of(learner).moments == {}
    assert not is_rescaled(learner, learner.update(later(300, seed=1)))


def test_a_scale_that_serves_is_left_alone(tmp_path):
    learner = begun(tmp_path)
    update = learner.update(january(300, seed=1))
    assert not is_rescaled(learner, update)
    assert len(update.rungs) == 1


def test_a_new_scale_that_has_more_rows_wrong_is_not_taken(tmp_path, monkeypatch):
    real = rescaling.solve_anew

    def worse(*given):
        made = real(*given)
        return replace(made, rungs=[type(made.rungs[0])("", 0.0, 0.0)])

    monkeypatch.setattr(rescaling, "solve_anew", worse)
    learner = begun(tmp_path)
    *events, finished = learner.update_events(later(300, seed=1))
    assert not is_rescaled(learner, finished.update)
    assert not any(isinstance(event, Rescaled) for event in events)
    assert [rung.score for rung in finished.update.rungs][1] == 0.0
    assert "new scale" not in finished.update.reason
    assert_exact(learner)


def test_a_state_is_a_function_of_the_ledger(tmp_path):
    learner = grown(tmp_path)
    learner.update(later(40, seed=5))
    kept = state_of(learner)
    head = learner.repository.log.head().version
    learner.repository.prune_states(keep=())
    assert learner.repository.read_state(head) is None
    assert state_of(learner).moments == kept.moments
    assert kept.moments


def test_a_state_of_an_older_dripstone_has_no_moments_and_gets_them(tmp_path):
    learner = begun(tmp_path)
    kept = learner.repository.read_state(learner.repository.log.head().version)
    learner.repository.write_state(replace(kept, moments={}))
    assert state_of(learner).moments == kept.moments
    assert is_rescaled(learner, learner.update(later(300, seed=1)))
    assert_measured(learner)


def test_damaged_moments_are_measured_again(tmp_path):
    learner = begun(tmp_path)
    kept = learner.repository.read_state(learner.repository.log.head().version)
    learner.repository.write_state(replace(kept, moments={"rows": kept.moments["rows"]}))
    assert state_of(learner).moments == kept.moments


def test_a_revert_brings_back_scale_and_moments_and_the_next_update_works(tmp_path):
    learner = begun(tmp_path)
    before = learner.repository.log.head().version
    scale, moments = learner.champion().model.preprocess.scale.clone(), state_of(learner).moments
    assert is_rescaled(learner, learner.update(later(300, seed=1)))
    learner.revert(before)
    assert torch.equal(learner.champion().model.preprocess.scale, scale)
    assert state_of(learner).moments == moments
    update = learner.update(later(301, seed=2))
    assert update.promoted
    assert is_rescaled(learner, update)
    assert_exact(learner)
    assert_measured(learner)


def test_trusted_rows_and_replay_go_on_at_the_new_scale(tmp_path):
    learner = grown(tmp_path)
    state, model = state_of(learner), learner.champion().model
    assert state.trusted
    assert state.replay
    features = features_of(model, [row.example().inputs for row in state.trusted])
    torch.testing.assert_close(from_raw(state.trusted_features), features)
    looped = learner.update(later(60, seed=6), settings={"select.selection": "head@adamw", "train.stop.epochs": 1})
    assert looped.promoted
    assert looped.examples.replayed > 0
    assert learner.update(later(61, seed=7), settings={"select.selection": "head@ridge"}).promoted
    assert_exact(learner)


def test_rows_that_fade_are_as_faded_at_the_new_scale(tmp_path):
    learner = begun(tmp_path, **{"curate.policy": "screen+forget:200"})
    assert is_rescaled(learner, learner.update(later(300, seed=1)))
    champion, state = learner.champion(), state_of(learner)
    policy = parse_policy(learner.config.curate.policy)
    rows = trained_rows(learner.repository, champion.version, forget=policy.forget)
    fresh = fresh_statistics(rows, champion.model, champion.task)
    kept = read_statistics(state.statistics)
    one, two = (to_sums(each, champion.model.head) for each in (fresh, kept))
    torch.testing.assert_close(one.cross, two.cross, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(one.gram, two.gram, atol=1e-6, rtol=1e-6)


def test_a_correction_in_the_update_that_sets_the_scale_and_one_after_it(tmp_path):
    learner = begun(tmp_path)
    first, second = january(130, seed=0), later(300, seed=1)
    wrong = [{**row, "label": "b" if row["label"] == "a" else "a"} for row in first[:20]]
    assert is_rescaled(learner, learner.update([*second, *wrong]))
    assert_exact(learner)
    assert learner.update([*first[:20], *later(20, seed=4)]).promoted
    assert_exact(learner)


def test_the_best_version_so_far_answers_at_its_own_scale(tmp_path, monkeypatch):
    learner = begun(tmp_path)
    best = learner.repository.log.head().version
    judge = flow.judge_candidate
    monkeypatch.setattr(flow, "judge_candidate", lambda *given: replace(judge(*given), new_best=False))
    seen = []
    load_anchor = trial.load_anchor
    monkeypatch.setattr(trial, "load_anchor", lambda *given: seen.append(load_anchor(*given)) or seen[-1])
    assert is_rescaled(learner, learner.update(later(300, seed=1)))
    assert state_of(learner).anchor == best
    assert learner.update(later(60, seed=2)).promoted
    rows = [row for row in live_rows(learner, "held_out") if row.id.startswith("2-")]
    model = learner.champion(best).model
    torch.testing.assert_close(seen[-1].fresh, features_of(model, [row.example().inputs for row in rows]))
    assert not torch.equal(model.preprocess.scale, learner.champion().model.preprocess.scale)


def test_a_gate_that_refuses_leaves_everything_as_it_was(tmp_path):
    learner = begun(tmp_path)
    before, state = learner.repository.log.head().version, state_of(learner)
    judge = flow.judge_candidate
    with pytest.MonkeyPatch.context() as patch:
        refused = {"verdict": "refused", "reason": "harm is shown"}
        patch.setattr(flow, "judge_candidate", lambda *given: replace(judge(*given), **refused))
        update = learner.update([*january(300, seed=3), *later(300, seed=1)], gate="steady")
    assert update.verdict == "refused"
    assert update.reason.endswith("besides, the candidate's columns have a new scale")
    assert learner.repository.log.head().version == before
    assert state_of(learner).moments == state.moments
    assert torch.equal(learner.champion(before).model.preprocess.scale, learner.champion().model.preprocess.scale)
    assert is_rescaled(learner, learner.update(later(300, seed=2)))
    assert_exact(learner)


def test_judgements_over_a_new_scale_can_be_made_again(tmp_path):
    learner = begun(tmp_path)
    mixed = [*january(300, seed=1), *later(300, seed=2)]
    update = learner.update(mixed, gate="steady")
    assert update.promoted, update.reason
    assert is_rescaled(learner, update)
    assert learner.update(later(100, seed=3), gate="steady").promoted
    assert list(audit(learner.repository, learner.config)) == []
