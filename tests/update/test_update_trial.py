"""What is judged is what was stored."""

import numpy as np
import torch

from dripstone.core.bits import from_raw
from dripstone.core.fork import named_tensors
from dripstone.models import mlp
from dripstone.train.features import features_of, outputs_of
from dripstone.update import flow, trial
from dripstone.update.training_state import marks_of
from dripstone.update.trial import store_candidate
from learner_samples import blobs, make, scores, trained


def spy(patch, name, seen):
    real = getattr(trial, name)

    def call(*args, **kwargs):
        result = real(*args, **kwargs)
        seen.append((args, result))
        return result

    patch.setattr(trial, name, call)


def test_the_rebuilt_candidate_is_the_trained_one_bit_for_bit(tmp_path, monkeypatch):
    trained_models, rebuilt = [], []
    real = store_candidate
    monkeypatch.setattr(flow, "store_candidate", lambda *args: trained_models.append(args[1].model) or real(*args))
    spy(monkeypatch, "checkout", rebuilt)
    learner = make(tmp_path, {"gate.mode": "off"}, model=mlp(2, (8,), 64))
    for seed, selection in enumerate(("head", "suffix:1", "full", "head@adamw", "head")):
        learner.update(blobs(30, seed, "abcd"[: 2 + seed % 3]), settings={"select.selection": selection})
    assert len(trained_models) == len(rebuilt) == 5
    for model, (_, again) in zip(trained_models, rebuilt, strict=True):
        one, two = named_tensors(model), named_tensors(again)
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            assert tensor.numpy().tobytes() == two[name].numpy().tobytes(), name


def test_a_candidate_is_a_delta_that_names_its_parent_and_rows(tmp_path):
    learner = trained(tmp_path)
    update = learner.update(blobs(30, seed=1))
    manifest = learner.repository.manifest(update.version)
    old = learner.repository.manifest(update.parent)
    assert (manifest.parent, manifest.selection) == (update.parent, "head@ridge")
    assert (manifest.labels, manifest.task, manifest.spec) == (["a", "b"], "classification", old.spec)
    assert len(manifest.data) == 64
    moved = {name for name in manifest.tensors if manifest.tensors[name].digest != old.tensors[name].digest}
    assert {"head.weight", "head.bias"} <= moved <= {"head.weight", "head.bias", "head.scale"}
    assert 0 < update.delta_bytes < 20_000


def test_both_answer_the_same_rows_in_the_same_order(tmp_path, monkeypatch):
    seen = []
    spy(monkeypatch, "judge", seen)
    learner = trained(tmp_path, {"gate.mode": "better"})
    learner.update(blobs(10, seed=1, labels="ab"))
    learner.update(blobs(20, seed=2, labels="abc"))
    (answers, fresh), judgement = seen[-1][0], seen[-1][1]
    update = learner.repository.records(learner.log()[0].candidate)[-1]
    assert fresh == update.evidence.rows == update.examples.held_out
    state = learner.repository.read_state(update.parent)
    assert len(answers) - fresh == len(state.trusted)
    classes = answers.partitions[0]
    new = classes.codes[:fresh] == classes.names.index("class c")
    assert new.any()
    assert (answers.champion.known[:fresh] == ~new).all()
    assert not answers.champion.restricted.right[:fresh][new].any()
    assert answers.champion.marks.right[fresh:].mean() > 0.9
    assert judgement.evidence == update.evidence


def test_marks_that_were_kept_are_those_of_the_version(tmp_path):
    learner = trained(tmp_path)
    for seed, selection in enumerate(("head", "full", "head@adamw"), start=1):
        update = learner.update(blobs(60, seed, "abc"[: 1 + seed]), select=selection, gate="off")
        state = learner.repository.read_state(update.version)
        kept, _ = marks_of(state)
        champion = learner.champion()
        features = features_of(champion.model, [row.example().inputs for row in state.trusted])
        targets = champion.task.encode([row.target for row in state.trusted])
        again = champion.task.mark(outputs_of(champion.model, features), targets).kept
        assert (kept[:, 0] == again[:, 0]).all()
        np.testing.assert_allclose(kept[:, 1], again[:, 1], atol=1e-5)


def test_moved_features_are_computed_again_for_trusted_rows(tmp_path):
    learner = make(tmp_path, {"gate.mode": "off"}, model=mlp(2, (8,), 64))
    learner.update(blobs(60, seed=0))
    update = learner.update(blobs(60, seed=1), settings={"select.selection": "full", "train.learning_rate": 0.05})
    state = learner.repository.read_state(update.version)
    model = learner.champion().model
    expected = features_of(model, [row.example().inputs for row in state.trusted])
    torch.testing.assert_close(from_raw(state.trusted_features), expected)


def test_the_champion_is_not_moved_by_the_trial(tmp_path):
    learner = trained(tmp_path)
    live = learner.champion()
    before = {name: tensor.clone() for name, tensor in live.model.state_dict().items()}
    assert learner.update(blobs(60, seed=1, labels="abc")).promoted
    assert all(torch.equal(before[name], tensor) for name, tensor in live.model.state_dict().items())
    assert scores(learner).shape[1] == 3


def test_sense_is_asked_of_arrived_rows_of_known_labels_only(tmp_path):
    learner = trained(tmp_path)
    assert learner.update([{**row, "label": "n" + row["label"]} for row in blobs(60, seed=1)]).verdict != "unchanged"
    assert "agree with the live version" not in learner.log()[0].reason
