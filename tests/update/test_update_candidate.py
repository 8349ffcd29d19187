"""A candidate is a fork that was trained, and its champion has not moved."""

import numpy as np
import pytest
import torch

from dripstone.core.config import Config
from dripstone.core.errors import UsageError
from dripstone.core.events import Encoded, Epoch, Trained
from dripstone.core.examples import Example
from dripstone.models import mlp
from dripstone.models.factory import ModelSpec
from dripstone.tasks.classification import answers
from dripstone.train.features import outputs_of
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.candidate import train_candidate
from dripstone.update.ladder import backbone_names
from dripstone.update.lesson import encode_batch, make_lesson
from dripstone.update.selecting import choose_selection
from learner_samples import blobs, make, own_net, trained


def examples(rows):
    return [Example(str(i), np.array(r["inputs"], np.float32), r["label"]) for i, r in enumerate(rows)]


def batch_of(rows, held_out=()):
    return Batch(
        rows=[BatchRow(row, held_out=False) for row in rows] + [BatchRow(row, held_out=True) for row in held_out]
    )


def finish(events):
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value


def bits(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def train(champion, rows, settings, aside=(), replay=()):
    config = Config().override(settings)
    selection = choose_selection(config, champion)
    batch = batch_of(rows, rows[:3])
    trains = backbone_names(selection, champion.model, first=False)
    _, encoding = finish(encode_batch(champion, batch, trains))
    for label in aside:
        batch.set_aside(label, "a test")
    return finish(train_candidate(make_lesson(champion, encoding, batch, replay, None, config), selection))


def test_the_first_rows_fit_a_copy_and_not_the_champion(tmp_path):
    champion = make(tmp_path).champion()
    before = bits(champion.model)
    rows = examples(blobs(50, seed=0))
    batch = batch_of(rows[:80], rows[80:])
    events, encoding = finish(encode_batch(champion, batch))
    assert all(isinstance(event, Encoded) for event in events)
    assert (events[-1].done, events[-1].rows) == (100, 100)
    assert encoding.features.shape == (100, 2)
    fresh = encoding.of(batch.places(held_out=True))
    torch.testing.assert_close(fresh, encoding.features[80:])
    assert float(encoding.starter.head.expansion.width) > 0
    assert bool(encoding.starter.preprocess.fitted)
    after = bits(champion.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("selection", ["head@adamw", "suffix:1", "vectors@sgd", "full@muon"])
def test_training_moves_what_was_selected_and_nothing_of_the_champion(tmp_path, selection):
    learner = make(tmp_path, model=mlp(2, (8, 8), 64))
    assert learner.update(blobs(150, seed=0)).promoted
    champion = learner.champion()
    before = bits(champion.model)
    rows = examples(blobs(30, seed=1, labels="abc"))
    events, candidate = train(champion, rows, {"select.selection": selection, "train.stop.epochs": 2})
    assert [type(event) for event in events] == [Epoch, Epoch, Trained]
    assert all(torch.equal(before[name], tensor) for name, tensor in champion.model.state_dict().items())
    names = set(candidate.selection.parameters(champion.model))
    for name, tensor in candidate.model.state_dict().items():
        same = tensor.shape == before[name].shape and torch.equal(tensor, before[name])
        assert same != (name in names), name
    assert candidate.task.labels == ("a", "b", "c")
    assert (candidate.trained, candidate.replayed) == (90, 0)
    assert candidate.rungs[0].cpu_seconds >= 0
    assert candidate.parameters.trained == sum(
        parameter.numel() for name, parameter in candidate.model.named_parameters() if name in names
    )


def test_rows_that_are_set_aside_take_no_part(tmp_path):
    champion = trained(tmp_path).champion()
    rows = examples(blobs(30, seed=1, labels="abz"))
    _, candidate = train(champion, rows, {"select.selection": "head@adamw"}, aside="z")
    assert (candidate.task.labels, candidate.trained) == (("a", "b"), 60)


def test_replayed_rows_join_the_loop(tmp_path):
    champion = trained(tmp_path).champion()
    rows = examples(blobs(10, seed=1))
    replay = examples(blobs(15, seed=0))
    _, with_replay = train(champion, rows, {"select.selection": "head@adamw"}, replay=replay)
    _, without = train(champion, rows, {"select.selection": "head@adamw"})
    assert with_replay.replayed == 30
    assert not torch.equal(with_replay.model.head.weight, without.model.head.weight)


def test_the_default_of_head_depends_on_where_the_labels_come_from(tmp_path):
    spec = ModelSpec("learner_samples:own_net")
    kept = make(tmp_path / "kept", model=own_net(), spec=spec, labels=["a", "b"]).champion()
    new = make(tmp_path / "new").champion()
    assert str(choose_selection(Config(), kept)) == "head@adamw"
    assert str(choose_selection(Config(), new)) == "ladder"
    with pytest.raises(UsageError, match="use head@adamw"):
        choose_selection(Config().override({"select.selection": "head@ridge"}), kept)


def test_no_rows_have_no_answers(tmp_path):
    champion = trained(tmp_path).champion()
    assert outputs_of(champion.model, torch.empty(0, 0)).shape == (0, 2)
    assert (answers(outputs_of(champion.model, torch.ones(3, 2)), classes=0) == -1).all()
