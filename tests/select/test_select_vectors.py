"""Biases and gains."""

from __future__ import annotations

import pytest
from torch import nn

from dripstone.core.errors import UsageError
from dripstone.core.records import Spec
from dripstone.models import mlp
from dripstone.models.wrap import wrap
from dripstone.select.vectors import vectors


def test_biases_and_gains_and_the_head_are_chosen():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    model = wrap(net, Spec("tests:net"), labels_known=2)
    assert vectors(model) == [
        "backbone.module.0.bias",
        "backbone.module.1.weight",
        "backbone.module.1.bias",
        "head.weight",
        "head.bias",
    ]


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2)), None])
def test_a_backbone_without_any_is_refused(net):
    model = mlp(inputs=3) if net is None else wrap(net, Spec("tests:net"), labels_known=2)
    with pytest.raises(UsageError, match="no biases and no gains; use head"):
        vectors(model)
