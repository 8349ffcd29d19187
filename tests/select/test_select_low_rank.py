"""``low_rank:r``: which layers get a product."""

from __future__ import annotations

import pytest
import torch
from selection_nets import parted
from torch import nn
from transformers.pytorch_utils import Conv1D

from dripstone.core.errors import UsageError
from dripstone.select.low_rank import low_rank, low_rank_layers


class Own(nn.Module):
    """A layer that only its author knows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, inputs):
        return inputs @ self.weight


def test_linear_layers_of_the_backbone_and_the_head():
    model = parted(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), Own(), nn.Conv2d(1, 2, 3), Conv1D(4, 4)))
    names = low_rank(model)
    assert names == ["backbone.0.weight", "backbone.3.weight", "backbone.4.weight", "head.weight", "head.bias"]


def test_what_is_tied_frozen_or_read_past_the_layer_stays():
    tied = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    frozen = nn.Linear(4, 4).requires_grad_(False)
    assert low_rank_layers(nn.Sequential(tied, grouped, frozen, nn.MultiheadAttention(4, 2))) == []
    assert low_rank_layers(nn.TransformerEncoderLayer(4, 2, 8)) == ["linear1", "linear2"]


def test_a_layer_of_somebody_elses_that_is_called_linear_stays():
    other = type("Linear", (Own,), {})
    assert low_rank_layers(nn.Sequential(other(), nn.Linear(4, 4))) == ["1"]


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (nn.Sequential(Own(), nn.LayerNorm(4)), r"\(LayerNorm, Own\)"),
        (nn.Linear(4, 4), r"\(Linear\)"),
        (nn.Identity(), "it has none with parameters"),
    ],
)
def test_layers_that_peft_does_not_know_are_named(backbone, words):
    with pytest.raises(UsageError, match=f"PEFT knows no layer of this backbone.*{words}.*use suffix:k") as caught:
        low_rank(parted(backbone))
    assert caught.value.kind == "usage.selection"
