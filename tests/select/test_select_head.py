"""``head``."""

from __future__ import annotations

from selection_nets import parted
from torch import nn

from dripstone.select.head import head


def test_the_trainable_parameters_of_the_head():
    model = parted(nn.Linear(4, 4))
    assert head(model) == ["head.weight", "head.bias"]
    model.head.bias.requires_grad_(False)
    assert head(model) == ["head.weight"]


def test_names_that_only_begin_alike():
    model = parted(nn.Sequential())
    model.headline = nn.Linear(1, 1)
    model.backbone.add_module("head", nn.Linear(4, 4))
    assert head(model) == ["head.weight", "head.bias"]
