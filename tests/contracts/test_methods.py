"""Every selection with every method on every kind of model: what was selected moves, and no other bit does."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.config import Step, Stop, TrainConfig
from dripstone.core.fork import fork, named_tensors
from dripstone.core.parts import Chosen, Rotation
from dripstone.core.records import Spec
from dripstone.core.tensors import RawTensor
from dripstone.models import image_classifier, mlp
from dripstone.models.classifier import Classifier
from dripstone.models.wrap import wrap
from dripstone.select.selection import parse_selection
from dripstone.select.share import Draw
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of
from dripstone.train.loop import run_loop
from dripstone.train.low_rank import adapted
from dripstone.train.optimizers import OPTIMIZERS
from dripstone.train.rows import Rows
from dripstone.train.statistics import add_rows, no_rows

STEP = Step(weight_decay=0.5, schedule="cosine", warmup=0.2, clip=1.0, accumulate=2, carry=True)
CONFIG = TrainConfig(stop=Stop(epochs=2), learning_rate=0.01, step=STEP, batch_size=7)


def perceptron() -> Classifier:
    return mlp(inputs=4, hidden=[8, 8], random_features=32, dropout=0.3)


def pictures() -> Classifier:
    return image_classifier((8, 8), channels=(4, 8), random_features=32)


def normalised() -> Classifier:
    """A user's own module in one flat sequence, with every kind of layer that has a mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.BatchNorm1d(4, affine=False),
            nn.Linear(4, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(8, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )
    return wrap(net, Spec("tests:normalised"), random_features=32)


MODELS: dict[str, tuple[Callable[[], Classifier], tuple[int, ...]]] = {
    "mlp": (perceptron, (4,)),
    "image": (pictures, (8, 8)),
    "wrapped": (normalised, (4,)),
}
SELECTIONS = ["head", "suffix:1", "suffix:2", "vectors", "full", "blocks:0.5", "rows:0.2:random", "entries:0.1"]
TURNS = ["blocks:0.5:2", "blocks:0.5:random:2", "rows:0.2:random:2", "entries:0.1:2"]


def prepared(name: str) -> tuple[Classifier, Rows]:
    factory, shape = MODELS[name]
    rng = np.random.default_rng(0)
    targets = np.arange(30) % 3
    inputs = list((rng.normal(size=(30, *shape)) + targets.reshape(-1, *[1] * len(shape))).astype("f4"))
    model = factory()
    model.fit(inputs)
    model.head.fit(features_of(model, inputs))
    model.head.grow(3)
    with torch.no_grad():
        # Tensors of zeros would hide weight decay that leaks.
        for parameter in model.parameters():
            parameter += 0.1 if parameter.requires_grad else 0.0
    return model, Rows(inputs, torch.from_numpy(targets), torch.ones(30))


def finish(events):
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def moved(before: dict[str, torch.Tensor], model: nn.Module) -> set[str]:
    return {name for name, tensor in named_tensors(model).items() if not torch.equal(tensor, before[name])}


def buffers_beside(model: nn.Module, names: list[str]) -> set[str]:
    """Buffers of the very modules that own a selected parameter; what is trained may keep its statistics.

    So may a layer without parameters that comes before the first one that is trained.
    """
    owners = {name.rpartition(".")[0] for name in names}
    if "backbone.module.1" in owners:
        owners.add("backbone.module.0")
    return {name for name, _ in model.named_buffers() if name.rpartition(".")[0] in owners}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("kind", MODELS)
def test_selected_parameters_move_and_no_other_bit_does(kind, selection, optimizer):
    """Twice, with weight decay: the second time with the state that the first one carries, and stale gradients."""
    champion, rows = prepared(kind)
    names, parts = parse_selection(selection).choose(champion)
    config = msgspec.structs.replace(CONFIG, optimizer=optimizer)
    carried: dict[str, RawTensor] = {}
    for _ in range(2):
        before = {name: tensor.clone() for name, tensor in named_tensors(champion).items()}
        candidate = fork(champion, names)
        for parameter in candidate.parameters():
            parameter.grad = torch.ones_like(parameter)
        cache = ActivationCache(candidate, names)
        carried = finish(run_loop(candidate, names, rows, config, selection, cache=cache, carried=carried, parts=parts))
        assert carried
        assert not moved(before, champion)
        changed = moved(before, candidate)
        for name, part in parts.items():
            rest = named_tensors(candidate)[name].clone()
            assert (part.of(rest) != part.of(before[name])).any()
            part.put(rest, part.of(before[name]))
            assert torch.equal(rest, before[name])
        assert set(names) <= changed
        assert changed <= set(names) | buffers_beside(candidate, names)
        champion = candidate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("earlier", ["head", "suffix:1", "full"])
def test_a_state_of_another_selection_moves_nothing_that_is_not_selected(earlier, optimizer):
    champion, rows = prepared("mlp")
    config = msgspec.structs.replace(CONFIG, optimizer=optimizer)
    before_names = parse_selection(earlier).parameters(champion)
    first = fork(champion, before_names)
    carried = finish(run_loop(first, before_names, rows, config, earlier))
    names = parse_selection("suffix:2").parameters(first)
    before = {name: tensor.clone() for name, tensor in named_tensors(first).items()}
    second = fork(first, names)
    finish(run_loop(second, names, rows, config, "suffix:2", carried=carried))
    assert moved(before, second) <= set(names) | buffers_beside(second, names)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("kind", MODELS)
def test_the_same_seed_gives_the_same_candidate(kind, selection, optimizer):
    twins = []
    config = msgspec.structs.replace(CONFIG, optimizer=optimizer)
    for _ in range(2):
        champion, rows = prepared(kind)
        names, parts = parse_selection(selection).choose(champion)
        twins.append(fork(champion, names))
        list(run_loop(twins[-1], names, rows, config, selection, parts=parts))
    assert not moved(named_tensors(twins[0]), twins[1])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("selection", TURNS)
@pytest.mark.parametrize("kind", MODELS)
def test_what_takes_turns_moves_in_its_own_and_no_bit_at_any_other_time(kind, selection, optimizer):
    champion, rows = prepared(kind)
    asked = parse_selection(selection)
    draw = Draw(generator=np.random.default_rng(0), known=3)
    turns = [(list(chosen.names), dict(chosen.parts)) for chosen in islice(asked.turns(champion, draw), 20)]
    twins = []
    for _ in range(2):
        names = asked.parameters(champion)
        candidate = fork(champion, names)
        rotation = Rotation(2, iter(Chosen(*turn) for turn in turns))
        config = msgspec.structs.replace(CONFIG, optimizer=optimizer, stop=Stop(epochs=2), step=Step(accumulate=1))
        before = {name: tensor.clone() for name, tensor in named_tensors(champion).items()}
        finish(run_loop(candidate, names, rows, config, selection, rotation=rotation))
        assert not moved(before, champion)
        twins.append(candidate)
        taken = turns[: math.ceil(2 * math.ceil(30 / 7) / 2)]
        for name, tensor in named_tensors(candidate).items():
            rest = tensor.clone()
            for some, parts in taken:
                if name in parts:
                    parts[name].put(rest, parts[name].of(before[name]))
                elif name in some:
                    rest = before[name]
            assert torch.equal(rest, before[name]) or name in buffers_beside(candidate, names), name
        assert len({name for some, _ in taken for name in some} & moved(before, candidate)) > 2
    assert not moved(named_tensors(twins[0]), twins[1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_product_moves_the_weights_that_it_is_added_to_and_the_head(kind, optimizer):
    champion, rows = prepared(kind)
    names = parse_selection("low_rank:2").choose(champion).names
    weights = [name for name in names if not name.startswith("head.")]
    flags = [(name, parameter.requires_grad) for name, parameter in champion.named_parameters()]
    before = {name: tensor.clone() for name, tensor in named_tensors(champion).items()}
    candidate = fork(champion, names)
    with adapted(candidate, weights, 2, seed=0) as products:
        config = msgspec.structs.replace(CONFIG, optimizer=optimizer)
        finish(run_loop(candidate, [*products.names, "head.weight", "head.bias"], rows, config, "low_rank:2"))
    assert not moved(before, champion)
    assert set(names) <= moved(before, candidate) <= set(names) | buffers_beside(candidate, names)
    assert [(name, parameter.requires_grad) for name, parameter in candidate.named_parameters()] == flags
    for name, (left, right) in products.factors.items():
        added = torch.from_numpy(left.astype("f8") @ right.astype("f8")).reshape(before[name].shape)
        assert torch.allclose(candidate.get_parameter(name).double(), before[name].double() + added, atol=1e-6)
        assert len(right) <= 2


@pytest.mark.parametrize("kind", MODELS)
def test_the_closed_form_moves_the_head_alone(kind):
    champion, rows = prepared(kind)
    before = {name: tensor.clone() for name, tensor in named_tensors(champion).items()}
    candidate = fork(champion, parse_selection("head@ridge").parameters(champion))
    features = features_of(candidate, rows.inputs)
    statistics = add_rows(no_rows(), candidate.head, features, rows.targets, rows.weights)
    fit_head(candidate.head, statistics, 0.05, features, rows.targets, rows.weights)
    assert not moved(before, champion)
    assert {"head.weight", "head.bias"} <= moved(before, candidate) <= {"head.weight", "head.bias", "head.scale"}


@pytest.mark.parametrize("selection", ["head@adamw", "suffix:1@adamw"])
def test_a_frozen_prefix_computes_what_it_computes_when_serving(selection):
    champion, rows = prepared("wrapped")
    names = parse_selection(selection).parameters(champion)
    candidate = fork(champion, names)
    layers = list(candidate.backbone.module)
    last = next((i for i, _ in enumerate(layers) if f"backbone.module.{i}.weight" in names), len(layers) - 1)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    layers[last].register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    config = TrainConfig(stop=Stop(epochs=1), batch_size=30)
    list(run_loop(candidate, names, rows, config, selection))
    with torch.no_grad():
        served = champion.backbone.module[:last](champion.collate(rows.inputs))
    key = seen[0].sum(dim=1).sort().values
    assert torch.allclose(key, served.sum(dim=1).sort().values, atol=1e-5)
