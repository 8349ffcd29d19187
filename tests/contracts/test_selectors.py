"""What every selector owes every model. A new selector is one line in ``TEXTS``."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from dripstone.core.blocks import find_blocks
from dripstone.core.errors import UsageError
from dripstone.core.fork import changed_tensors, fork
from dripstone.core.parts import Part
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.select.selection import SELECTORS, SHARES, WAYS, parse_selection
from dripstone.select.share import Draw

WHOLE_HEAD = ["head", "head@adamw", "suffix:1", "suffix:2", "vectors", "full", "low_rank:2"]
WHOLE_HEAD += ["blocks:0.5", "blocks:0.5:random", "blocks:0.5:gradient"]
PARTS = ["rows:0.2", "rows:0.2:random", "entries:0.1", "entries:0.1:gradient", "entries:0.1:fisher"]
TEXTS = [*WHOLE_HEAD, *PARTS]


@pytest.fixture(scope="module")
def models(encoder_folder):
    made = {
        "vector": mlp(inputs=6, hidden=(8, 8), random_features=16),
        "image": image_classifier(shape=(1, 8, 8), channels=(4, 8), random_features=16),
        "text": text_classifier(str(encoder_folder), max_length=16, random_features=16),
    }
    for model in made.values():
        model.head.grow(3)
    return made


@pytest.fixture(params=["vector", "image", "text"])
def model(request, models):
    return models[request.param]


def draw(model, turn=0, known=3):
    """Scores that are made up, and everything that a choice goes by besides."""
    generator = torch.Generator().manual_seed(turn)
    scores = {name: torch.rand(p.shape, generator=generator) for name, p in model.named_parameters() if p.requires_grad}
    return Draw(scores, np.random.default_rng(turn), turn, known)


def select(text, model, turn=0):
    return parse_selection(text).choose(model, draw(model, turn))


def size(model, chosen):
    named = dict(model.named_parameters())
    return sum((chosen.parts[n].of(named[n]) if n in chosen.parts else named[n]).numel() for n in chosen.names)


def trainable(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_every_selector_in_each_of_its_ways_is_in_the_suite():
    parsed = [parse_selection(text) for text in TEXTS]
    # What has grown has no head in it, and most models nothing that has: tests/select/test_select_grown.py.
    assert {one.name for one in parsed} == (SELECTORS | SHARES).keys() - {"grown"}
    assert {(one.name, one.by) for one in parsed if one.by} == {(name, way) for name in SHARES for way in WAYS[name]}


@pytest.mark.parametrize("text", TEXTS)
def test_names_exist_once_and_are_trainable(text, model):
    names, parts = select(text, model)
    parameters = dict(model.named_parameters())
    assert names
    assert len(names) == len(set(names))
    assert all(parameters[name].requires_grad for name in names)
    assert parts.keys() <= set(names)


@pytest.mark.parametrize("text", WHOLE_HEAD)
def test_the_head_is_included(text, model):
    names, parts = select(text, model)
    assert {"head.weight", "head.bias"} <= set(names) - parts.keys()


@pytest.mark.parametrize("text", TEXTS)
def test_fixed_projections_are_not_included(text, model):
    assert not any("projection" in name or "phase" in name for name in select(text, model).names)


@pytest.mark.parametrize("text", PARTS)
def test_a_part_is_some_of_a_parameter_each_place_once(text, model):
    names, parts = select(text, model)
    for name in names:
        parameter = model.get_parameter(name)
        part = parts.get(name)
        if part is None:
            continue
        places = parameter.numel() if part.dimension is None else parameter.shape[part.dimension]
        assert part.index.dtype == torch.int64
        assert 0 < len(part.index) < places
        assert bool((part.index.diff() > 0).all())
        assert 0 <= int(part.index[0]) <= int(part.index[-1]) < places


@pytest.mark.parametrize("text", PARTS)
def test_a_share_is_no_more_than_was_asked_for_and_next_to_all_of_it(text, model):
    chosen, share = size(model, select(text, model)), parse_selection(text).argument
    rows = max(p.numel() // len(p) for p in model.parameters() if p.requires_grad)
    assert chosen <= share * trainable(model)
    assert chosen > share * trainable(model) - (rows if text.startswith("rows") else 1)


@pytest.mark.parametrize("text", PARTS)
def test_new_labels_come_first_whatever_the_share(text, models):
    model = fork(models["vector"], [])
    model.head.grow(5)
    for share in ("0.001", "0.3"):
        selection = parse_selection(text.replace("0.2", share).replace("0.1", share))
        names, parts = selection.choose(model, draw(model, known=3))
        twin = fork(model, names)
        for name in names:
            part = parts.get(name, Part(torch.arange(model.get_parameter(name).numel()), None))
            part.put(twin.get_parameter(name).data, part.of(twin.get_parameter(name).data) + 1)
        assert bool((twin.head.weight[3:] != model.head.weight[3:]).all())
        assert bool((twin.head.bias[3:] != model.head.bias[3:]).all())
        if share == "0.001":
            assert set(names) == {"head.weight", "head.bias"}
            assert torch.equal(twin.head.weight[:3], model.head.weight[:3])


@pytest.mark.parametrize("text", TEXTS)
def test_selecting_changes_nothing_and_is_repeatable(text, model):
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    once, again = select(text, model), select(text, model)
    assert once.names == again.names
    assert [part.key() for part in once.parts.values()] == [part.key() for part in again.parts.values()]
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags


@pytest.mark.parametrize("text", ["blocks:0.5", "blocks:0.5:random", "rows:0.2:random", "entries:0.1"])
def test_turns_take_their_turns(text, model):
    def keys(turn):
        names, parts = select(text, model, turn)
        return [(name, parts[name].key() if name in parts else "") for name in names]

    assert len({str(keys(turn)) for turn in range(8)}) > 1


@pytest.mark.parametrize("text", TEXTS)
def test_a_fork_over_the_selection_moves_exactly_that(text, model):
    names, parts = select(text, model)
    twin = fork(model, names)
    moved = 0
    for name in names:
        values = twin.get_parameter(name).data
        part = parts.get(name, Part(torch.arange(values.numel()), None))
        part.put(values, part.of(values) + 1.0)
        moved += int((values != model.get_parameter(name)).sum())
    assert set(changed_tensors(twin, model)) == set(names)
    assert moved == size(model, (select(text, model)))


def test_each_suffix_is_part_of_the_next_and_of_full(model):
    blocks = len(find_blocks(model.backbone))
    assert blocks >= 2
    chain = ["head", *(f"suffix:{k}" for k in range(1, blocks + 1)), "full"]
    chosen = [set(select(text, model).names) for text in chain]
    for smaller, larger in pairwise(chosen):
        assert smaller <= larger
    for smaller, larger in pairwise(chosen[:-1]):
        assert smaller < larger
    with pytest.raises(UsageError, match=f"the model has {blocks}"):
        select(f"suffix:{blocks + 1}", model)


@pytest.mark.parametrize("text", [text for text in TEXTS if not text.startswith(("blocks", "low_rank"))])
def test_a_frozen_backbone_leaves_the_head(text, models):
    model = fork(models["vector"], [])
    model.backbone.requires_grad_(False)
    names = set(select(text, model).names)
    assert names == {"head.weight", "head.bias"} if text in WHOLE_HEAD else names <= {"head.weight", "head.bias"}


@pytest.mark.parametrize("text", ["blocks:0.5", "low_rank:2"])
def test_where_nothing_of_the_backbone_may_move_that_is_said(text, models):
    model = fork(models["vector"], [])
    model.backbone.requires_grad_(False)
    with pytest.raises(UsageError, match=r"has no blocks|PEFT knows no layer"):
        select(text, model)
