"""Blocks are found where a person would cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import ModelError


class Encoder(nn.Module):
    """As Hugging Face builds them: embeddings, encoder.layer, pooler."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(100, 4)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            nn.ModuleDict({"attention": nn.Linear(4, 4), "mlp": nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))})
            for _ in range(layers)
        )
        self.pooler = nn.Linear(4, 4)


def test_a_module_list_of_layers():
    assert find_blocks(Encoder()) == ["encoder.layer.0", "encoder.layer.1", "encoder.layer.2"]


def test_more_than_ten_blocks_stay_in_order():
    assert find_blocks(Encoder(12))[-3:] == ["encoder.layer.9", "encoder.layer.10", "encoder.layer.11"]
    names = suffix_parameters(Encoder(12), 11)
    assert names[0].startswith("encoder.layer.1.")
    assert not any(name.startswith("encoder.layer.0.") for name in names)


def test_nested_sequences_are_cut_at_the_outer_one():
    net = nn.Sequential(
        nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    )
    assert find_blocks(net) == ["0", "1"]


def test_a_sequence_around_one_sequence_is_cut_at_the_inner_one():
    assert find_blocks(nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))) == ["0.0", "0.1"]


def test_the_first_of_two_equals():
    net = nn.Module()
    net.left = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net.right = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert find_blocks(net) == ["left.0", "left.1"]


def test_layers_without_parameters_are_no_blocks():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 4), nn.Softmax(dim=1))
    assert find_blocks(net) == ["1", "4"]


def test_named_children():
    net = nn.Sequential()
    net.add_module("stem", nn.Linear(2, 2))
    net.add_module("top", nn.Linear(2, 2))
    assert find_blocks(net) == ["stem", "top"]
    assert suffix_parameters(net, 1) == ["top.weight", "top.bias"]


@pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.Sequential(), nn.Sequential(nn.ReLU()), nn.ModuleList()])
def test_no_blocks(net):
    assert find_blocks(net) == []


def test_frozen_layers_are_blocks_still():
    assert len(find_blocks(Encoder().requires_grad_(False))) == 3


def test_a_layer_that_is_used_twice_is_one_block():
    layer = nn.Linear(4, 4)
    assert find_blocks(nn.Sequential(layer, nn.ReLU(), layer)) == ["0"]


def test_a_layer_whose_weights_are_all_tied_to_an_earlier_one_is_no_block():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False))
    net[2].weight = net[0].weight
    assert find_blocks(net) == ["0", "1"]
    assert suffix_parameters(net, 1) == ["1.weight", "1.bias"]


def test_a_layer_that_is_tied_in_part_moves_with_the_rest():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert suffix_parameters(net, 1) == ["1.bias"]
    assert suffix_parameters(net, 2) == ["0.weight", "0.bias", "1.bias"]


def test_a_suffix_goes_on_to_the_end_of_the_module():
    names = suffix_parameters(Encoder(), 1)
    assert names[0] == "encoder.layer.2.attention.weight"
    assert names[-2:] == ["pooler.weight", "pooler.bias"]
    assert "embeddings.weight" not in names


@pytest.mark.parametrize("k", [0, -1, 4])
def test_blocks_that_do_not_exist(k):
    with pytest.raises(ModelError, match="the module has 3; ask for 1 to 3"):
        suffix_parameters(Encoder(), k)


def test_no_blocks_no_suffix():
    with pytest.raises(ModelError, match="the module has 0"):
        suffix_parameters(nn.Linear(2, 2), 1)


def test_a_transformer_of_torch():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert find_blocks(net) == ["layers.0", "layers.1"]
    assert torch.is_tensor(net.get_parameter(suffix_parameters(net, 1)[0]))
