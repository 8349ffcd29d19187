"""Updates that move a share of the parameters, or products of low rank: from the rows to the stored bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.bits import from_raw
from dripstone.core.errors import UsageError
from dripstone.core.fork import named_tensors
from dripstone.models import mlp
from dripstone.train.low_rank import adapted
from dripstone.update import candidate
from learner_samples import blobs as separate
from learner_samples import make
from text_samples import stories, tiny

SHARES = ["blocks:0.5", "blocks:0.5:random", "blocks:0.5:gradient", "blocks:0.5:3"]
SHARES += ["rows:0.05", "rows:0.05:random", "rows:0.05:random:3"]
SHARES += ["entries:0.05", "entries:0.05:gradient", "entries:0.05:fisher", "entries:0.05:3"]
OFF = {"gate.mode": "off", "train.learning_rate": 0.01}


def blobs(count, seed, labels="ab"):
    """Labels that overlap, so that there is something to learn for the loop behind a solved head."""
    return separate(count, seed, labels, spread=1.0)


def network():
    return mlp(inputs=2, hidden=[32, 32], random_features=64)


def bare():
    """Nothing but an output layer."""
    return mlp(inputs=2, random_features=64)


def tensors(learner, version):
    return {name: from_raw(raw) for name, raw in learner.repository.each_tensor(version)}


@pytest.mark.parametrize("selection", [*SHARES, "low_rank:2"])
def test_an_update_is_stored_as_what_moved_and_comes_back(tmp_path, selection):
    learner = make(tmp_path, OFF, model=network())
    learner.update(blobs(60, 0))
    learner = learner.open(learner.project, {"select.selection": selection})
    update = learner.update(blobs(60, 1))
    assert update.verdict == "promoted"
    old, new = tensors(learner, update.parent), tensors(learner, update.version)
    moved = sum(int((old[name] != new[name]).sum()) for name in old)
    total = sum(p.numel() for p in learner.champion().model.parameters() if p.requires_grad)
    trained = update.parameters.trained
    if selection.startswith(("rows", "entries")):
        assert trained <= 0.05 * total
        assert 0 < moved <= trained * (10 if selection.endswith(":3") else 1)
    else:
        assert 0 < moved <= total
    live = named_tensors(learner.champion().model)
    assert all(torch.equal(live[name].cpu(), new[name]) for name in new)
    assert list(learner.repository.verify()) == []
    learner.revert()
    assert all(torch.equal(one, old[name]) for name, one in named_tensors(learner.champion().model).items())


def test_few_entries_are_stored_with_their_places(tmp_path):
    learner = make(tmp_path, OFF, model=network())
    learner.update(blobs(60, 0))
    update = learner.update(blobs(60, 1), select="entries:0.05")
    encodings = {
        entry.encoding
        for entry in learner.repository.manifest(update.version).tensors.values()
        if entry.base == update.parent
    }
    assert "sparse-zstd" in encodings
    assert update.delta_bytes < 6000


def test_a_product_is_stored_as_its_factors_under_the_selection_and_the_ladder(tmp_path):
    learner = make(tmp_path, OFF, model=network())
    learner.update(blobs(60, 0))
    update = learner.update(blobs(60, 1), select="low_rank:2")
    manifest = learner.repository.manifest(update.version)
    factors = learner.repository.read_factors(update.version)
    assert list(factors) == ["backbone.0.0.weight", "backbone.1.0.weight"]
    assert manifest.tensors["backbone.1.0.weight"].encoding == "low-rank"
    assert update.parameters.trained == 2 * (32 + 2) + 2 * (32 + 32) + 2 * (64 + 32 + 1)
    old, new = tensors(learner, update.parent), tensors(learner, update.version)
    for name, (left, right) in factors.items():
        assert np.allclose(new[name].numpy(), old[name].numpy() + left @ right, atol=1e-6)


@pytest.mark.parametrize("selection", ["rows:0.001", "entries:0.001", "low_rank:1", "blocks:0.5"])
def test_labels_that_are_new_are_learned_whatever_the_share(tmp_path, selection):
    learner = make(tmp_path, {**OFF, "train.learning_rate": 0.05}, model=network())
    learner.update(separate(60, 0))
    update = learner.update(separate(60, 1, "abc"), select=selection)
    assert update.new_labels == ["c"]
    rows = separate(40, 2, "c")
    assert learner.predict([row["inputs"] for row in rows]).count("c") > 30


def test_the_head_is_solved_only_where_all_of_it_may_move(tmp_path):
    for selection, solved in (("entries:0.5", False), ("rows:0.5", False), ("blocks:0.5", True), ("low_rank:1", True)):
        learner = make(tmp_path / selection, {**OFF, "train.learning_rate": 1e-12}, model=network())
        learner.update(blobs(60, 0))
        update = learner.update(blobs(20, 1), select=selection)
        old, new = tensors(learner, update.parent), tensors(learner, update.version)
        assert bool((old["head.weight"] - new["head.weight"]).abs().max() > 1e-6) == solved, selection


@pytest.mark.parametrize("selection", SHARES)
def test_the_same_update_gives_the_same_version(tmp_path, selection):
    versions = set()
    for name in ("one", "two"):
        learner = make(tmp_path / name, OFF, model=network())
        learner.update(blobs(40, 0))
        versions.add(learner.update(blobs(40, 1), select=selection).version)
    assert len(versions) == 1


def test_the_next_update_takes_its_turn(tmp_path):
    learner = make(tmp_path, {**OFF, "train.optimizer": "sgd"}, model=network())
    learner.update(blobs(60, 0))
    places = []
    for seed in (1, 2, 3):
        update = learner.update(blobs(20, seed), select="blocks:0.5")
        old, new = tensors(learner, update.parent), tensors(learner, update.version)
        places.append({name for name in old if name.startswith("backbone") and not torch.equal(old[name], new[name])})
    assert places[0] != places[1]
    assert places[0] == places[2]


@pytest.mark.parametrize("selection", ["rows:0.05", "entries:0.05:fisher", "entries:0.05:2", "blocks:0.5:gradient"])
def test_texts_are_learned_by_a_share(tmp_path, selection):
    learner = make(tmp_path, {**OFF, "train.stop.epochs": 1}, model=tiny(), task="causal_lm")
    learner.update(stories(12, 0))
    update = learner.update(stories(12, 1), select=selection)
    assert update.verdict == "promoted"
    old, new = tensors(learner, update.parent), tensors(learner, update.version)
    moved = sum(int((old[name] != new[name]).sum()) for name in old)
    assert 0 < moved <= update.parameters.total


def test_texts_are_learned_at_low_rank(tmp_path):
    learner = make(tmp_path, {**OFF, "train.stop.epochs": 1}, model=tiny(), task="causal_lm")
    learner.update(stories(12, 0))
    update = learner.update(stories(12, 1), select="low_rank:2")
    assert update.verdict == "promoted"
    assert learner.repository.read_factors(update.version)
    assert list(learner.repository.verify()) == []


@pytest.mark.parametrize(
    "selection", ["ladder:entries:0.3", "ladder:rows:0.3:random", "ladder:low_rank:4", "ladder:full"]
)
def test_every_selection_can_be_a_rung(tmp_path, selection):
    draw = np.random.default_rng(0)

    def rows(count, labels):
        """Classes that differ along one of ten inputs, which a narrow layer has to find."""
        found = []
        for _ in range(count):
            for place, label in enumerate(labels):
                point = draw.normal(0, 1, 10)
                point[0] += 8 * place - 4
                found.append({"inputs": point.tolist(), "label": label})
        return found

    settings = {"train.learning_rate": 0.05, "select.selection": selection, "gate.mode": "off"}
    learner = make(tmp_path, settings, model=mlp(inputs=10, hidden=[16, 4], random_features=64))
    update = learner.update(rows(200, "ab"))
    tried = [rung.selection for rung in update.rungs]
    assert any(one.startswith(selection.removeprefix("ladder:")) for one in tried), tried
    if update.selection != "head@ridge":
        assert update.parameters.trained > 0
        if "low_rank" in selection:
            assert learner.repository.read_factors(update.version) or update.parent is None
    evaluation = learner.evaluate(rows(50, "ab"))
    assert evaluation["metrics"]["accuracy"] > 0.75
    assert list(learner.repository.verify()) == []


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (bare, {"select.selection": "blocks:0.5"}, "the model has no blocks"),
        (bare, {"select.selection": "low_rank:8"}, "PEFT knows no layer"),
        (network, {"select.selection": "rows:0"}, "the share '0' is not above 0 and at most 1"),
        (network, {"select.selection": "entries:1.5"}, "the share '1.5' is not above 0"),
        (network, {"select.selection": "ladder:suffix:3"}, "suffix:3 asks for 3 blocks, the model has 2"),
        (network, {"select.selection": "low_rank:2", "train.retain.l2": 1.0}, "adds a product, which begins as 0"),
        (network, {"select.selection": "rows:0.1:random:5", "train.retain.l2": 1.0}, "takes turns"),
        (
            network,
            {"select.selection": "ladder:low_rank:2", "train.retain.l2": 1.0},
            "adds a product, which begins as 0",
        ),
        (network, {"select.selection": "low_rank:2", "train.step.carry": True}, "train.step.carry goes on with"),
        (network, {"select.selection": "blocks:0.5:9", "train.step.carry": True}, "train.step.carry goes on with"),
        (bare, {"select.selection": "ladder:entries:0.1"}, "nothing of the backbone may move; use ladder, or head"),
        (bare, {"select.selection": "ladder:rows:0.1"}, "nothing of the backbone may move"),
        (network, {"select.selection": "entries:0.1@adamm"}, "there is no optimizer 'adamm'"),
    ],
)
def test_what_cannot_be_is_said_before_a_row_is_looked_at(tmp_path, model, settings, words):
    learner = make(tmp_path, model=model())
    before = learner.repository.log.head()
    learner = learner.open(learner.project, settings)
    with pytest.raises(UsageError, match=words):
        learner.update(iter([{"inputs": object()}]))
    assert learner.repository.log.head() == before


@pytest.mark.parametrize("task", ["regression", "causal_lm"])
def test_rungs_need_labels(tmp_path, task):
    model = network() if task == "regression" else tiny()
    learner = make(tmp_path, {"select.selection": "ladder:low_rank:2"}, model=model, task=task)
    with pytest.raises(UsageError, match=r"tunes features by labels.*use ladder, or low_rank:2"):
        learner.update([])


def test_held_parameters_stay_near_where_they_started_in_part(tmp_path):
    far = []
    for weight in (0.0, 20.0):
        learner = make(tmp_path / str(weight), {**OFF, "train.retain.l2": weight}, model=network())
        learner.update(blobs(60, 0))
        update = learner.update(blobs(60, 1), select="entries:0.1@sgd")
        old, new = tensors(learner, update.parent), tensors(learner, update.version)
        far.append(max(float((old[name].double() - new[name].double()).abs().max()) for name in old))
    assert far[1] < far[0] / 3


@pytest.mark.parametrize("selection", ["rows:0.05", "rows:0.5:random:3", "entries:0.05:gradient"])
def test_a_head_without_labels_on_nothing_else(tmp_path, selection):
    learner = make(tmp_path, {**OFF, "select.selection": selection}, model=bare())
    assert learner.update(separate(60, 0)).promoted
    assert learner.update(separate(60, 1)).promoted


def test_without_a_gradient_to_go_by_a_share_is_drawn(tmp_path):
    model = mlp(inputs=2, hidden=[32] * 4, random_features=64)
    moved = set()
    for seed in range(5):
        learner = make(tmp_path / str(seed), {**OFF, "train.seed": seed}, model=model)
        update = learner.update(blobs(60, 0), select="blocks:0.25:gradient")
        old, new = tensors(learner, update.parent), tensors(learner, update.version)
        moved.add(tuple(name for name in old if "backbone" in name and not torch.equal(old[name], new[name])))
    assert len(moved) > 1


def test_what_is_asked_with_a_product_beside_a_layer_is_what_comes_of_it():
    """In eval mode, where patience looks, torch's own encoder layers read weights past the layers that hold them."""
    model, inputs = nn.Module(), torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    model.backbone = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model.eval()
    with torch.no_grad(), adapted(model, ["backbone.linear1.weight"], 2, seed=0) as products:
        plain = model.backbone(inputs)
        for factor in map(model.get_parameter, products.names):
            factor.copy_(torch.linspace(-1, 1, factor.numel()).view_as(factor) ** 3)
        beside = model.backbone(inputs)
    assert not torch.allclose(beside, plain, atol=1e-3)
    with torch.no_grad():
        assert torch.allclose(model.backbone(inputs), beside, atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_lies_below_the_chosen_blocks_is_computed_once(tmp_path, monkeypatch):
    learner = make(tmp_path, OFF, model=network())
    learner.update(blobs(60, 0))
    cuts = []
    real = candidate.run_loop

    def seen(*arguments, cache=None, **more):
        cuts.append(cache.cut if cache is not None else None)
        return real(*arguments, cache=cache, **more)

    monkeypatch.setattr(candidate, "run_loop", seen)
    for number, selection in enumerate(("blocks:0.5", "blocks:0.5", "blocks:1", "entries:0.1", "head@adamw"), start=2):
        learner.update(blobs(20, number), select=selection)
    assert sorted(cuts[:2], key=str) == [1, None]  # the first block, and the second
    assert cuts[2:] == [None, None, None]
