"""What differs between a fork and its parent, and how it is put into another module."""

from __future__ import annotations

import copy

import pytest
import torch
from fork_nets import ExtraState, Tied, all_bits, flags, net_with_norm
from torch import nn

from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors, fill, fork, named_tensors


def test_named_tensors_are_parameters_and_persistent_buffers_in_order():
    net = net_with_norm()
    net.register_buffer("scratch", torch.zeros(1), persistent=False)
    assert list(named_tensors(net)) == [name for name in net.state_dict() if name != "scratch"]
    assert all(not tensor.requires_grad for tensor in named_tensors(net).values())


def test_named_tensors_are_not_copied():
    net = nn.Linear(1, 1)
    named_tensors(net)["weight"].fill_(5.0)
    assert net.weight.item() == 5.0


def test_a_tied_tensor_is_named_once():
    assert list(named_tensors(Tied())) == ["embed.weight"]


@pytest.mark.parametrize("value", [{"a": 1}, 3, None, torch.ones(2)])
def test_extra_state_is_refused_even_as_a_tensor(value):
    with pytest.raises(ModelError, match=r"'0\._extra_state' is extra state") as caught:
        named_tensors(nn.Sequential(ExtraState(value)))
    assert caught.value.kind == "model.extra_state"


def test_a_parameter_may_end_in_the_same_words():
    net = nn.Module()
    net.my_extra_state = nn.Parameter(torch.ones(1))
    assert list(named_tensors(net)) == ["my_extra_state"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (torch.tensor([0x7FC00000], dtype=torch.int32), torch.tensor([0x7FC00001], dtype=torch.int32)),
    ],
)
def test_bits_count_not_values(old, new):
    net = nn.Linear(1, 1, bias=False)
    net.weight.data = old.view(torch.float32).reshape(1, 1).clone()
    twin = fork(net, ["weight"])
    assert changed_tensors(twin, net) == {}
    twin.weight.data.copy_(new.view(torch.float32).reshape(1, 1))
    assert list(changed_tensors(twin, net)) == ["weight"]


def test_equal_not_a_numbers_are_no_change():
    net = nn.Linear(2, 2)
    net.weight.data.fill_(float("nan"))
    assert changed_tensors(fork(net, ["weight"]), net) == {}


def test_a_change_back_is_no_change():
    net = nn.Linear(2, 2)
    twin = fork(net, ["weight"])
    twin.weight.data.add_(1.0)
    twin.weight.data.copy_(net.weight.data)
    assert changed_tensors(twin, net) == {}


def test_another_memory_order_of_the_same_values_is_no_change():
    net = nn.Conv2d(2, 3, 2)
    twin = fork(net, ["weight"])
    twin.weight.data = twin.weight.data.to(memory_format=torch.channels_last)
    assert changed_tensors(twin, net) == {}


def test_another_view_of_the_same_memory_is_a_change():
    net = nn.Linear(2, 2)
    twin = fork(net, [])
    twin.weight.data = net.weight.data.T
    assert list(changed_tensors(twin, net)) == ["weight"]


def test_another_dtype_shape_or_name_is_a_change():
    net = nn.Linear(2, 2)
    twin = fork(net, ["weight", "bias"])
    twin.bias.data = twin.bias.data.double()
    twin.weight = nn.Parameter(torch.zeros(3, 2))
    twin.register_buffer("more", torch.zeros(1))
    assert list(changed_tensors(twin, net)) == ["weight", "bias", "more"]


def test_fill_in_place_keeps_ties_flags_and_memory():
    net = Tied()
    net.embed.weight.requires_grad_(False)
    pointer = net.embed.weight.data_ptr()
    fill(net, [("embed.weight", torch.ones(5, 3))])
    assert net.out.weight is net.embed.weight
    assert net.out.weight.data_ptr() == pointer
    assert not net.out.weight.requires_grad
    assert torch.equal(net.out.weight, torch.ones(5, 3))


def test_fill_with_a_grown_layer():
    net = net_with_norm()
    before = all_bits(net)
    net[2].bias.requires_grad_(False)
    twin = fork(net, ["2.weight", "2.bias"])
    grown = {"2.weight": torch.randn(5, 3), "2.bias": torch.randn(5)}
    fill(twin, grown.items())
    assert twin(torch.randn(4, 2)).shape == (4, 5)
    assert isinstance(twin[2].weight, nn.Parameter)
    assert flags(twin) == flags(net)
    assert list(named_tensors(twin)) == list(named_tensors(net))
    assert all_bits(net) == before
    twin[2].weight.data.zero_()
    assert grown["2.weight"].abs().sum() > 0, "the caller's tensors are not taken over"


def test_fill_with_a_grown_buffer():
    net = nn.BatchNorm1d(2)
    fill(net, [("running_mean", torch.ones(4))])
    assert "running_mean" in dict(net.named_buffers())
    assert net.running_mean.shape == (4,)


def test_fill_accepts_zero_dimensions_and_empties():
    net = nn.BatchNorm1d(2)
    net.register_buffer("none", torch.empty(0))
    fill(net, [("num_batches_tracked", torch.tensor(7)), ("none", torch.empty(0))])
    assert net.num_batches_tracked.item() == 7


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"2.scale": torch.ones(1)}, "which the module does not have"),
        ({"2.bias": torch.ones(2, dtype=torch.float64)}, "is torch.float64 in the weights and torch.float32"),
    ],
)
def test_fill_refuses_what_does_not_fit(bad, words):
    net = net_with_norm()
    wanted = copy.deepcopy(net)
    fill(wanted, [("0.weight", torch.zeros(3, 2))])
    with pytest.raises(ModelError, match=words) as caught:
        fill(net, [("0.weight", torch.zeros(3, 2)), *bad.items(), ("0.bias", torch.full((3,), 7.0))])
    assert caught.value.kind == "model.weights"
    assert all_bits(net) == all_bits(wanted)


def test_a_delta_rebuilds_the_fork():
    net = net_with_norm()
    twin = fork(net, ["0.weight", "2.bias"])
    twin(torch.randn(8, 2))
    twin[0].weight.data.add_(1.0)
    other = fork(net, ["0.weight"])
    fill(other, changed_tensors(twin, net).items())
    assert all_bits(other) == all_bits(twin)
