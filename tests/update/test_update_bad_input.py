"""Training that cannot work, or on odd models and odd batches: an error with a remedy, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError, UsageError
from dripstone.core.examples import is_held_out
from dripstone.core.fork import changed_tensors
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.models.factory import ModelSpec
from learner_samples import blobs, book_of, folder_hash, live_rows, make, scores

SELECTIONS = ["head@ridge", "head@adamw", "suffix:1@sgd", "vectors@adamw", "full@adamw", "ladder"]


def deep():
    return mlp(inputs=2, hidden=[8, 8], random_features=32, dropout=0.3)


def started(tmp_path, model=None, **given):
    """A learner whose first rows are learned in closed form, whatever comes later."""
    learner = make(tmp_path, {"train.learning_rate": 0.01}, model=model or deep(), **given)
    assert learner.update(blobs(100, seed=0), select="head@ridge" if not given else None).promoted
    return learner


class Bare(nn.Module):
    """No bias, no gain, no blocks."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(2, 8, bias=False)
        self.out = nn.Linear(8, 2)

    def forward(self, batch):
        return self.out(torch.tanh(self.inside(batch)))


class Tied(nn.Module):
    """Three blocks, the first and the last of which have the same matrix; and a layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(2, 8)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3)))
        self.blocks[2][0].weight = self.blocks[0][0].weight
        self.idle = nn.Linear(2, 2)
        self.out = nn.Linear(8, 2)

    def forward(self, batch):
        return self.out(self.blocks(self.widen(batch)))


class Normalised(nn.Module):
    """Blocks with dropout and batch normalisation in them."""

    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(2, 8)
        blocks = [nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)) for _ in range(3)]
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(8, 2)

    def forward(self, batch):
        return self.out(self.blocks(self.widen(batch)))


def own(module, tmp_path, settings=None):
    torch.manual_seed(0)
    return make(tmp_path, settings, model=module(), spec=ModelSpec(f"test_update_bad_input:{module.__name__}"))


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("vectors", "no biases and no gains.*use head"),
        ("suffix:1", "asks for 1 blocks, the model has 0.*use head or full"),
        ("sufix:1", "did you mean 'suffix'"),
        ("suffix:0", "write suffix:1"),
        ("full@adamv", "did you mean 'adam'"),
        ("full@torch.optim:Adamw", "Adamw"),
        ("full@no_such_package:Step", "no_such_package"),
        ("full@ridge", "use head@ridge or full@adamw"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(tmp_path, select, words):
    learner = own(Bare, tmp_path)
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match=f"(?s){words}") as caught:
        learner.update(blobs(50, seed=0), select=select)
    assert caught.value.remedy
    assert folder_hash(learner.project) == before


def test_blocks_beyond_the_models(tmp_path):
    learner = started(tmp_path)
    before = folder_hash(learner.project)
    with pytest.raises(UsageError, match=r"asks for 3 blocks, the model has 2.*use suffix:1 to suffix:2"):
        learner.update(blobs(50, seed=1), select="suffix:3")
    assert folder_hash(learner.project) == before


@pytest.mark.parametrize("select", [select for select in SELECTIONS if select not in ("head@ridge", "ladder")])
def test_a_learning_rate_that_diverges(tmp_path, select):
    learner = started(tmp_path)
    live, before = learner.champion().version, scores(learner)
    update = learner.update(blobs(50, seed=1), select=select, settings={"train.learning_rate": 1e30})
    assert update.verdict == "refused"
    assert "lower train.learning_rate" in update.reason
    assert learner.champion().version == live
    assert torch.equal(scores(learner), before)
    assert len(book_of(learner).pending) == 100


@pytest.mark.parametrize("select", SELECTIONS)
def test_one_example(tmp_path, select):
    """Whichever side it falls on, it is counted, and the learner goes on."""
    learner = started(tmp_path)
    for row in blobs(4, seed=1):
        update = learner.update([row], select=select)
        assert update.verdict in ("promoted", "undecided", "refused")
        assert update.examples.trained + update.examples.held_out + update.examples.pending >= 1
    assert learner.update(blobs(100, seed=2), select=select, gate="off").promoted


@pytest.mark.parametrize("select", SELECTIONS)
def test_one_class(tmp_path, select):
    learner = started(tmp_path)
    learner.update(blobs(100, seed=1, labels="a"), select=select)
    assert learner.evaluate(blobs(100, seed=9))["metrics"]["accuracy"] >= 0.9


@pytest.mark.parametrize("select", SELECTIONS)
def test_one_class_is_all_that_ever_came(tmp_path, select):
    learner = make(tmp_path, model=deep())
    assert learner.update(blobs(100, seed=0, labels="a"), select=select).promoted
    assert learner.predict([row["inputs"] for row in blobs(3, seed=1, labels="a")]) == ["a"] * 3


@pytest.mark.parametrize("select", SELECTIONS)
def test_no_example(tmp_path, select):
    learner = started(tmp_path)
    before = folder_hash(learner.project)
    with pytest.raises(DataError, match="no rows; send at least one"):
        learner.update([], select=select)
    assert folder_hash(learner.project) == before


@pytest.mark.parametrize("select", SELECTIONS)
def test_held_out_examples_alone_train_nothing_and_are_not_lost(tmp_path, select):
    learner = started(tmp_path)
    live = learner.champion().version
    key = learner.repository.holdout_key
    rows = [row for row in blobs(200, seed=1) if is_held_out(key, np.array(row["inputs"], np.float32), 0.2)]
    update = learner.update(rows, select=select)
    assert update.examples.trained == 0
    assert learner.champion().version == live
    assert len(book_of(learner).pending) == len(rows)
    assert learner.update(blobs(50, seed=2), select=select, gate="off").promoted
    assert len(live_rows(learner, "held_out")) >= len(rows)


@pytest.mark.parametrize("select", ["head@ridge", "suffix:1@adamw", "suffix:2@sgd", "full@adamw", "ladder"])
@pytest.mark.parametrize("module", [Tied, Normalised, Bare])
def test_odd_models_learn_and_come_back_from_the_store(tmp_path, module, select):
    if module is Bare and select.startswith("suffix"):
        select = "full@sgd"  # no blocks: asked for above
    learner = own(module, tmp_path, {"gate.mode": "off", "train.learning_rate": 0.01})
    for seed in range(2):
        update = learner.update(blobs(150, seed=seed), select=select)
        assert update.promoted
    assert learner.evaluate(blobs(100, seed=9))["metrics"]["accuracy"] >= 0.9
    assert list(learner.repository.verify()) == []


def test_a_weight_that_the_frozen_prefix_shares_stays(tmp_path):
    learner = own(Tied, tmp_path, {"gate.mode": "off", "train.learning_rate": 0.01})
    before = learner.champion().model
    learner.update(blobs(150, seed=0), select="suffix:1@adamw")
    moved = {name for name in changed_tensors(learner.champion().model, before) if "blocks" in name}
    assert moved == {"backbone.module.blocks.2.0.bias"}


def test_weights_that_are_tied_move_together_and_stay_tied(tmp_path):
    learner = own(Tied, tmp_path, {"gate.mode": "off", "train.learning_rate": 0.01})
    before = learner.champion().model
    learner.update(blobs(150, seed=0), select="full@adamw")
    model = Learner.open(learner.project).champion().model
    assert "backbone.module.blocks.0.0.weight" in changed_tensors(model, before)
    blocks = model.backbone.module.blocks
    assert blocks[0][0].weight is blocks[2][0].weight


def test_a_frozen_prefix_keeps_its_running_statistics(tmp_path):
    learner = own(Normalised, tmp_path, {"gate.mode": "off", "train.learning_rate": 0.01})
    before = learner.champion().model
    learner.update(blobs(150, seed=0), select="suffix:1@adamw")
    moved = changed_tensors(learner.champion().model, before)
    assert any("blocks.2" in name for name in moved)
    assert not any("blocks.0" in name or "blocks.1" in name for name in moved)


def test_parameters_that_nobody_calls_stay(tmp_path):
    learner = own(Tied, tmp_path, {"gate.mode": "off", "train.learning_rate": 0.01})
    before = learner.champion().model
    assert learner.update(blobs(150, seed=0), select="full@adamw").promoted
    assert not any("idle" in name for name in changed_tensors(learner.champion().model, before))
