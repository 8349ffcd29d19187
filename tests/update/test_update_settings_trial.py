"""A trial is what an update would train, on four fifths of the rows; what settings do not change is done once."""

import numpy as np
import pytest
import torch

from dripstone.core.errors import DivergedError, UsageError
from dripstone.core.examples import Example
from dripstone.core.fork import named_tensors
from dripstone.models import mlp
from dripstone.models.classifier import Classifier
from dripstone.stream.source import read
from dripstone.tasks.kinds import KINDS
from dripstone.train.features import result_of
from dripstone.train.statistics import read_statistics
from dripstone.update import candidate as candidates
from dripstone.update import settings_trial
from dripstone.update.settings_trial import prepare, row_losses, try_settings
from dripstone.update.training_state import fresh_statistics, trained_rows
from dripstone.update.tried_rows import cut_rows, user_weights
from learner_samples import blobs, folder_hash, make, trained
from number_samples import make_numbers, measured
from pair_samples import asked, make_pairs
from text_samples import make_texts, stories


def ground_of(learner, rows, settings=None):
    config, champion = learner.config.override(settings or {}), learner.champion()
    tried = result_of(cut_rows(learner.repository, config, champion, read(rows, config.task))).trying(0)
    return result_of(prepare(learner.repository, config, champion, tried))


def run(learner, ground, **settings):
    chosen = {name.replace("__", "."): value for name, value in settings.items()}
    return result_of(try_settings(ground, learner.config.override(chosen)))


def deep(folder, **settings):
    return make(folder, settings, model=mlp(2, (8, 8), 64))


@pytest.mark.parametrize("learned_before", [False, True])
@pytest.mark.parametrize(
    "selection", ["ladder", "head", "suffix:1", "suffix:2", "vectors", "full", "head@sgd", "low_rank:2", "entries:0.1"]
)
def test_a_trial_trains_what_an_update_of_its_rows_would(tmp_path, monkeypatch, selection, learned_before):
    projects = [deep(tmp_path / name, **{"curate.policy": "screen"}) for name in "12"]
    if learned_before:
        assert all(learner.update(blobs(150, 0)).promoted for learner in projects)
    ground = ground_of(projects[0], blobs(60, 1, "abc"))
    made = []
    real = settings_trial.train

    def spy(attempt, lesson):
        made.append((yield from real(attempt, lesson)))
        return made[-1]

    monkeypatch.setattr(settings_trial, "train", spy)
    run(projects[0], ground, select__selection=selection)
    monkeypatch.setattr("dripstone.update.batch.is_held_out", lambda key, inputs, share: False)
    update = projects[1].update(ground.rows.batch.training(), gate="off", select=selection)
    assert (update.promoted, update.examples.trained) == (True, ground.rows.counts.learned)
    mine, theirs = named_tensors(made[0].model), named_tensors(projects[1].champion().model)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-3, atol=1e-4), name


def test_remembered_rows_that_are_tried_are_taken_out_of_the_closed_form(tmp_path):
    learner = trained(tmp_path)
    ground = ground_of(learner, blobs(60, 1))
    run(learner, ground, select__selection="head")
    kept = read_statistics(learner.repository.read_state(learner.champion().version).statistics)
    state, counts = ground.rows.start.state, ground.rows.counts
    assert len(state.replay) == counts.remembered_learned
    gone = {row.example.id for row in ground.rows.batch.rows} & ground.rows.batch.corrections
    rows = [row for row in trained_rows(learner.repository, state.version) if row.id not in gone]
    wanted = fresh_statistics(rows, learner.champion().model, learner.champion().task)
    found = ground.statistics
    assert found.cross.shape == wanted.cross.shape == kept.cross.shape
    assert torch.allclose(found.cross, wanted.cross)
    assert torch.allclose(found.gram, wanted.gram)
    assert not torch.allclose(found.gram, kept.gram)


def test_nothing_changes(tmp_path):
    learner = trained(tmp_path)
    learner.champion()
    before = folder_hash(learner.project)
    weights = {name: tensor.clone() for name, tensor in named_tensors(learner.champion().model).items()}
    ground = ground_of(learner, blobs(60, 1))
    batch = [(row.example.id, row.held_out, row.left_out) for row in ground.rows.batch.rows]
    for selection in ("head", "full", "ladder"):
        run(learner, ground, select__selection=selection)
    assert folder_hash(learner.project) == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in named_tensors(learner.champion().model).items())
    assert batch == [(row.example.id, row.held_out, row.left_out) for row in ground.rows.batch.rows]


def test_trials_do_not_depend_on_those_before(tmp_path):
    learner = deep(tmp_path)
    learner.update(blobs(150, 0))
    rows = blobs(60, 1, "abc", 1.0)
    chosen = ["ladder", "suffix:1", "full", "suffix:2", "head", "vectors", "low_rank:2", "rows:0.1"]
    ground = ground_of(learner, rows)
    one = {name: run(learner, ground, select__selection=name) for name in chosen}
    for name in chosen[::-1]:
        assert np.array_equal(run(learner, ground, select__selection=name).losses, one[name].losses)
        fresh = run(learner, ground_of(learner, rows), select__selection=name)
        assert np.allclose(fresh.losses, one[name].losses)


def test_the_rows_go_through_the_model_once_for_all_heads(tmp_path, monkeypatch):
    learner = deep(tmp_path)
    learner.update(blobs(150, 0))
    passed = []
    real = Classifier.features
    monkeypatch.setattr(Classifier, "features", lambda self, batch: passed.append(len(batch)) or real(self, batch))
    ground = ground_of(learner, blobs(60, 1))
    rows = sum(passed)
    assert rows == len(ground.rows.batch.rows)
    run(learner, ground, select__selection="head")
    taken_out = sum(passed) - rows  # remembered rows that are tried leave the sums: their features are computed once
    assert taken_out == ground.rows.counts.remembered_tried
    for ridge in (0.01, 1.0, 10.0):
        run(learner, ground, select__selection="head", train__ridge=ridge)
    assert sum(passed) == rows + taken_out


def test_frozen_blocks_are_computed_once_for_all_trials_of_a_suffix(tmp_path, monkeypatch):
    learner = deep(tmp_path, **{"train.stop.epochs": 1})
    ground = ground_of(learner, blobs(100, 0))
    run(learner, ground, select__selection="suffix:1")
    first = ground.encodings
    caches = [encoding.cache for encoding in first.values()]
    fills = []
    monkeypatch.setattr(type(caches[0]._prefix), "run", lambda self, batch: fills.append(batch))
    run(learner, ground, select__selection="suffix:1", train__learning_rate=0.01)
    assert [encoding.cache for encoding in ground.encodings.values()] == caches
    assert caches[0].reason is None
    assert fills == []


def test_no_tried_or_held_out_row_reaches_the_trainer(tmp_path, monkeypatch):
    learner = deep(tmp_path)
    learner.update(blobs(150, 0))
    reached = []
    real = candidates.run_loop

    def spy(model, names, rows, *args, **kwargs):
        reached.append({one.tobytes() for one in rows.inputs})
        return real(model, names, rows, *args, **kwargs)

    monkeypatch.setattr(candidates, "run_loop", spy)
    ground = ground_of(learner, blobs(60, 1))
    run(learner, ground, select__selection="full")
    (seen,) = reached
    counts = ground.rows.counts
    assert len(seen) == counts.learned + counts.remembered_learned
    assert not seen & {row.inputs.tobytes() for row in ground.rows.batch.fresh()}


def test_a_setting_that_forgets_is_punished(tmp_path):
    learner = make(tmp_path, {"select.selection": "full@adamw", "train.stop.epochs": 20}, model=mlp(2, (16,), 16))
    assert learner.update(blobs(150, 0, "abc")).promoted
    ground = ground_of(learner, blobs(150, 1, "de"))
    gentle = run(learner, ground, train__learning_rate=0.003)
    harsh = run(learner, ground, train__learning_rate=3.0)
    old = len(ground.rows.batch.fresh()) - ground.rows.counts.remembered_tried
    assert gentle.losses[old:].mean() < 0.1
    assert harsh.loss > gentle.loss + 0.2


def test_divergence_and_what_the_settings_forbid_are_errors_of_the_trial(tmp_path):
    learner = deep(tmp_path)
    ground = ground_of(learner, blobs(100, 0))
    with pytest.raises(DivergedError):
        run(learner, ground, select__selection="full", train__learning_rate=1e30)
    with pytest.raises(UsageError, match="the model has 2"):
        run(learner, ground, select__selection="suffix:3")
    assert run(learner, ground).loss < 0.2


def test_curation_leaves_rows_out_of_what_is_learned_and_not_of_what_is_tried(tmp_path):
    rows = blobs(100, 0)
    for place in range(0, len(rows), 10):
        rows[place]["label"] = "b" if rows[place]["label"] == "a" else "a"
    settings = {"curate.policy": "screen+noise"}
    ground = ground_of(make(tmp_path, settings), rows, settings)
    left_out = [row for row in ground.rows.batch.rows if row.left_out]
    assert left_out
    assert not any(row.held_out for row in left_out)


def test_numbers_are_tried_by_their_squared_error(tmp_path):
    learner = make_numbers(tmp_path)
    learner.update(measured(300, 0))
    ground = ground_of(learner, measured(200, 1))
    outcome = run(learner, ground)
    assert 0.3 < np.sqrt(outcome.loss) < 1.5
    assert outcome.selection == "ladder: head@ridge"


def test_texts_are_tried_by_the_loss_of_their_tokens(tmp_path):
    learner = make_texts(tmp_path, {"train.stop.epochs": 1})
    ground = ground_of(learner, stories(80, 0))
    slow, quick = (run(learner, ground, train__learning_rate=rate) for rate in (1e-6, 0.01))
    assert quick.loss < slow.loss
    assert quick.weights.sum() == pytest.approx(1)
    assert len(set(quick.weights.tolist())) > 1  # a long text counts more than a short one


def test_replies_are_tried_by_the_metric_of_the_task(tmp_path):
    learner = make_pairs(tmp_path, {"task.metric": "accuracy", "train.stop.epochs": 1})
    ground = ground_of(learner, asked(80, 0))
    assert set(run(learner, ground).losses.tolist()) <= {0.0, 1.0}


def test_losses_of_a_label_that_is_not_known_are_as_bad_as_any():
    task = KINDS["classification"](("a", "b"))
    logits = torch.tensor([[30.0, 0.0], [0.0, 30.0]])
    assert row_losses(task, "log_loss", logits, np.array([-1, 0])).tolist() == [5.0, 5.0]
    assert row_losses(task, "accuracy", logits, np.array([-1, 1])).tolist() == [1.0, 0.0]


def test_a_row_counts_by_the_weight_that_its_user_gave_it():
    one, three, none = (Example("", np.zeros(1), weight=weight) for weight in (1.0, 3.0, 0.0))
    assert user_weights([one, three]).tolist() == [0.25, 0.75]
    assert user_weights([none, none]).tolist() == [0.5, 0.5]
