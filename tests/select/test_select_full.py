"""``full``."""

from __future__ import annotations

from selection_nets import parted
from torch import nn

from dripstone.select.full import full


def test_every_trainable_parameter_once():
    model = parted(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False)))
    model.backbone[1].weight = model.backbone[0].weight
    assert full(model) == ["backbone.0.weight", "backbone.0.bias", "head.weight", "head.bias"]


def test_what_is_held_fixed_stays():
    model = parted(nn.Linear(4, 4).requires_grad_(False))
    assert full(model) == ["head.weight", "head.bias"]
