"""``blocks:p``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from selection_nets import parted
from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.blocks import blocks
from dripstone.select.selection import parse_selection
from dripstone.select.share import Draw


def stack(count):
    return parted(nn.Sequential(*(nn.Linear(4, 4) for _ in range(count))))


def places(chosen):
    return sorted({int(name.split(".")[1]) for name in chosen.names if name.startswith("backbone.")})


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 2), (0.5, 3), (0.74, 4), (1.0, 6)])
@pytest.mark.parametrize("by", ["cyclic", "random"])
def test_so_many_blocks(share, count, by):
    assert len(places(blocks(stack(6), share, by, Draw()))) == count


def test_they_take_turns_and_come_round():
    turns = [places(blocks(stack(5), 0.4, "cyclic", Draw(turn=turn))) for turn in range(4)]
    assert turns == [[0, 1], [2, 3], [0, 4], [1, 2]]


def test_the_gradient_counts_beside_the_weights():
    model = stack(3)
    with torch.no_grad():
        for factor, layer in zip((100.0, 1.0, 10.0), model.backbone, strict=True):
            layer.weight.fill_(factor)
            layer.bias.fill_(factor)
    scores = {name: torch.full_like(p, 3.0 if "backbone.1" in name else 20.0) for name, p in model.named_parameters()}
    assert places(blocks(model, 0.3, "gradient", Draw(scores))) == [1]
    assert places(blocks(model, 0.6, "gradient", Draw(scores))) == [1, 2]


def test_a_gradient_that_is_no_number_says_nothing():
    model = stack(2)
    scores = {
        name: torch.full_like(p, torch.nan if "backbone.0" in name else 1.0) for name, p in model.named_parameters()
    }
    assert places(blocks(model, 0.5, "gradient", Draw(scores))) == [1]


def test_turns_go_on_without_end():
    turns = parse_selection("blocks:0.5:10").turns(stack(4), Draw(turn=1))
    assert [places(next(turns)) for _ in range(3)] == [[2, 3], [0, 1], [2, 3]]
    drawn = parse_selection("blocks:0.25:random:10").turns(stack(4), Draw(generator=np.random.default_rng(0)))
    assert len({tuple(places(next(drawn))) for _ in range(20)}) == 4


def test_all_that_may_move_in_some_turn():
    assert len(parse_selection("blocks:0.25:10").parameters(stack(4))) == 10


@pytest.mark.parametrize("backbone", [nn.Linear(4, 4), nn.Identity(), nn.Sequential(nn.ReLU())])
def test_a_model_without_blocks_is_refused(backbone):
    with pytest.raises(UsageError, match="the model has no blocks; use head, rows:p or entries:p"):
        blocks(parted(backbone), 0.5, "cyclic", Draw())
