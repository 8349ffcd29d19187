"""``suffix:k``."""

from __future__ import annotations

import pytest
from selection_nets import parted
from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.suffix import suffix


def stack(blocks):
    return parted(nn.Sequential(*(nn.Linear(4, 4) for _ in range(blocks))))


def test_the_last_blocks_and_the_head():
    assert suffix(stack(3), 1) == ["backbone.2.weight", "backbone.2.bias", "head.weight", "head.bias"]
    assert suffix(stack(3), 2)[:2] == ["backbone.1.weight", "backbone.1.bias"]
    assert len(suffix(stack(3), 3)) == 8


def test_without_a_number_one_block():
    assert suffix(stack(3)) == suffix(stack(3), 1)


def test_what_follows_the_blocks_moves_too():
    model = stack(2)
    model.backbone = nn.ModuleDict({"embed": nn.Embedding(9, 4), "blocks": model.backbone, "norm": nn.LayerNorm(4)})
    names = suffix(model, 2)
    assert "backbone.norm.weight" in names
    assert "backbone.embed.weight" not in names


def test_blocks_held_fixed_stay():
    model = stack(2)
    model.backbone[1].requires_grad_(False)
    assert suffix(model, 1) == ["head.weight", "head.bias"]
    assert suffix(model, 2) == ["backbone.0.weight", "backbone.0.bias", "head.weight", "head.bias"]


def test_a_head_that_looks_like_blocks_is_none():
    model = stack(2)
    model.head = nn.Sequential(*(nn.Linear(100, 100) for _ in range(5)))
    assert suffix(model, 1)[:2] == ["backbone.1.weight", "backbone.1.bias"]


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (2, "suffix:3 asks for 3 blocks, the model has 2; use suffix:1 to suffix:2"),
        (0, "the model has 0; use head or full"),
    ],
)
def test_too_few_blocks(blocks, words):
    with pytest.raises(UsageError) as caught:
        suffix(stack(blocks), 3)
    assert words in str(caught.value)
