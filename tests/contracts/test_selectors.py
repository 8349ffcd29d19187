"""What every selector owes every model. A new selector is one line in ``TEXTS``."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dripstone.core.blocks import find_blocks
from dripstone.core.errors import UsageError
from dripstone.core.fork import changed_tensors, fork
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.select.selection import SELECTORS, parse_selection

TEXTS = ["head", "head@adamw", "suffix:1", "suffix:2", "vectors", "full"]


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


def select(text, model):
    return parse_selection(text).parameters(model)


def test_every_selector_is_in_the_suite():
    # What has grown has no head in it, and most models nothing that has: tests/select/test_select_grown.py.
    assert {parse_selection(text).name for text in TEXTS} == SELECTORS.keys() - {"grown"}


@pytest.mark.parametrize("text", TEXTS)
def test_names_exist_once_and_are_trainable(text, model):
    names = select(text, model)
    parameters = dict(model.named_parameters())
    assert names
    assert len(names) == len(set(names))
    assert all(parameters[name].requires_grad for name in names)


@pytest.mark.parametrize("text", TEXTS)
def test_the_head_is_included_and_its_fixed_projections_are_not(text, model):
    names = select(text, model)
    assert {"head.weight", "head.bias"} <= set(names)
    assert not any("projection" in name or "phase" in name for name in names)


@pytest.mark.parametrize("text", TEXTS)
def test_selecting_changes_nothing_and_is_repeatable(text, model):
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    assert select(text, model) == select(text, model)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags


@pytest.mark.parametrize("text", TEXTS)
def test_a_fork_over_the_selection_moves_exactly_that(text, model):
    names = select(text, model)
    twin = fork(model, names)
    for name in names:
        twin.get_parameter(name).data.add_(1.0)
    assert set(changed_tensors(twin, model)) == set(names)


def test_each_suffix_is_part_of_the_next_and_of_full(model):
    blocks = len(find_blocks(model.backbone))
    assert blocks >= 2
    chain = ["head", *(f"suffix:{k}" for k in range(1, blocks + 1)), "full"]
    chosen = [set(select(text, model)) for text in chain]
    for smaller, larger in pairwise(chosen):
        assert smaller <= larger
    for smaller, larger in pairwise(chosen[:-1]):
        assert smaller < larger
    with pytest.raises(UsageError, match=f"the model has {blocks}"):
        select(f"suffix:{blocks + 1}", model)


@pytest.mark.parametrize("text", TEXTS)
def test_a_frozen_backbone_leaves_the_head(text, models):
    model = fork(models["vector"], [])
    model.backbone.requires_grad_(False)
    assert set(select(text, model)) == {"head.weight", "head.bias"}
