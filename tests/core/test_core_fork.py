"""Nothing that is done to a fork changes a bit of its parent."""

from __future__ import annotations

import threading

import pytest
import torch
from fork_nets import Tied, all_bits, flags, net_with_norm, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors, fill, fork, named_tensors


def test_only_what_is_named_gets_memory_of_its_own():
    net = net_with_norm()
    assert shared(fork(net, ["2.weight"]), net) == {"0.weight", "0.bias", "1.weight", "1.bias", "2.bias"}
    assert shared(fork(net, []), net) == {name for name, _ in net.named_parameters()}
    assert shared(fork(net, [name for name, _ in net.named_parameters()]), net) == set()


def test_a_fork_is_equal_in_type_structure_values_and_mode():
    net = net_with_norm().eval()
    twin = fork(net, ["2.weight"])
    assert type(twin) is nn.Sequential
    assert list(twin.state_dict()) == list(net.state_dict())
    assert not twin.training
    assert not twin[1].training
    assert all_bits(twin) == all_bits(net)
    twin.train()
    assert not net.training


def test_the_names_may_come_from_a_generator_and_twice():
    net = net_with_norm()
    assert "2.weight" not in shared(fork(net, (name for name in ["2.weight", "2.weight"])), net)


def test_aliases_go_along_and_stay_tied():
    for name in ("embed.weight", "out.weight"):
        net = Tied()
        before = all_bits(net)
        twin = fork(net, [name])
        assert twin.out.weight is twin.embed.weight
        twin.out.weight.data.add_(1.0)
        assert all_bits(net) == before


def test_aliases_that_are_shared_stay_tied():
    net = Tied()
    twin = fork(net, [])
    assert twin.out.weight is twin.embed.weight
    assert twin.out.weight is not net.out.weight
    assert twin.out.weight.data_ptr() == net.out.weight.data_ptr()


def test_two_parameters_over_one_memory_stay_tied():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = nn.Parameter(net[0].weight.detach())
    before = all_bits(net)
    twin = fork(net, ["0.weight"])
    twin[0].weight.data.fill_(7.0)
    assert torch.equal(twin[1].weight, torch.full((2, 2), 7.0))
    assert all_bits(net) == before


def test_views_of_one_memory_stay_views_of_one_memory():
    memory = torch.arange(12.0)
    net = nn.Module()
    net.left = nn.Parameter(memory[:8].view(4, 2).T)
    net.right = nn.Parameter(memory[4:])
    twin = fork(net, ["right"])
    assert torch.equal(twin.left, net.left)
    assert twin.left.stride() == net.left.stride()
    twin.right.data.zero_()
    assert twin.left.tolist() == [[0, 2, 0, 0], [1, 3, 0, 0]]
    assert memory.tolist() == list(range(12))


def test_empty_parameters_share_nothing_by_accident():
    net = nn.Module()
    net.a, net.b = nn.Parameter(torch.empty(0, 3)), nn.Parameter(torch.empty(0, 5))
    twin = fork(net, ["a"])
    assert (twin.a.shape, twin.b.shape) == ((0, 3), (0, 5))
    assert twin.a is not net.a


def test_buffers_are_copied_persistent_or_not():
    net = net_with_norm()
    net.register_buffer("scratch", torch.zeros(2), persistent=False)
    before = all_bits(net)
    twin = fork(net, [])
    twin(torch.randn(8, 2))
    twin.scratch.fill_(1.0)
    assert list(changed_tensors(twin, net)) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert all_bits(net) == before


def test_gradients_are_not_carried():
    net = nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    twin = fork(net, ["weight"])
    assert [p.grad for p in twin.parameters()] == [None, None]
    assert net.weight.grad is not None
    twin(torch.zeros(1, 2)).sum().backward()
    assert net.weight.grad.tolist() == [[1.0, 1.0]]
    assert net.bias.grad.tolist() == [1.0]


def test_flags_are_kept_and_independent():
    net = net_with_norm()
    net[0].weight.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    before = flags(net)
    twin = fork(net, ["2.weight", "2.bias"])
    assert flags(twin) == before
    for parameter in twin.parameters():
        parameter.requires_grad_(not parameter.requires_grad)
    assert flags(net) == before


def test_integer_parameters():
    net = nn.Module()
    net.table = nn.Parameter(torch.arange(3), requires_grad=False)
    twin = fork(net, ["table"])
    twin.table.zero_()
    assert net.table.tolist() == [0, 1, 2]


def test_plain_attributes_and_bound_hooks_are_copied():
    net = nn.Linear(2, 1)
    net.seen = []
    net.register_forward_hook(lambda module, inputs, output: module.seen.append(len(output)))
    twin = fork(net, [])
    twin(torch.ones(4, 2))
    assert (net.seen, twin.seen) == ([], [4])


def test_a_module_that_is_parametrised():
    net = nn.Sequential(weight_norm(nn.Linear(2, 2)))
    before = all_bits(net)
    twin = fork(net, ["0.parametrizations.weight.original0"])
    twin[0].parametrizations.weight.original0.data.mul_(2.0)
    assert torch.allclose(twin[0].weight, 2 * net[0].weight)
    assert all_bits(net) == before


def test_a_recurrent_module_uses_the_new_weights():
    net = nn.LSTM(2, 2)
    twin = fork(net, ["weight_hh_l0"])
    twin.weight_hh_l0.data.zero_()
    rows = torch.randn(3, 1, 2)
    assert not torch.equal(twin(rows)[0], net(rows)[0])


def test_a_fork_of_a_fork():
    net = net_with_norm()
    before = all_bits(net)
    child = fork(net, ["2.weight"])
    grandchild = fork(child, ["2.weight"])
    grandchild[2].weight.data.add_(1.0)
    assert list(changed_tensors(grandchild, net)) == ["2.weight"]
    assert list(changed_tensors(child, net)) == []
    assert all_bits(net) == before


def test_training_a_shared_parameter_is_the_callers_mistake():
    net = nn.Linear(1, 1)
    fork(net, []).weight.data.fill_(3.0)
    assert net.weight.item() == 3.0


@pytest.mark.parametrize("names", [["3.weight"], ["weight"], ["1.running_mean"], "2.weight"])
def test_names_that_do_not_exist(names):
    with pytest.raises(ModelError, match="no parameter") as caught:
        fork(net_with_norm(), names)
    assert caught.value.kind == "model.parameter"


@pytest.mark.parametrize("names", [[], ["0.weight"]])
@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("layer", [lambda: nn.LazyLinear(2), lambda: nn.LazyBatchNorm1d()])
def test_lazy_parameters_are_refused(layer, names):
    with pytest.raises(ModelError, match=r"'0\.weight' has no shape yet") as caught:
        fork(nn.Sequential(layer()), names)
    assert caught.value.kind == "model.lazy"


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_buffers_are_refused():
    with pytest.raises(ModelError, match=r"'0\.running_mean' has no shape yet"):
        fork(nn.Sequential(nn.LazyBatchNorm1d(affine=False)), [])


def test_what_cannot_be_copied_is_named():
    with_lock, with_graph = nn.Linear(1, 1), nn.Linear(1, 1)
    with_lock.lock = threading.Lock()
    with_graph.last = with_graph(torch.ones(1, 1))
    for net in (with_lock, with_graph):
        with pytest.raises(ModelError, match="Linear cannot be copied") as caught:
            fork(net, [])
        assert caught.value.kind == "model.copy"


@st.composite
def small_modules(draw):
    """A random stack of layers on 3 features, some of them tied, and a random part of its names."""
    kinds = draw(st.lists(st.sampled_from(["linear", "norm", "batch", "relu", "tied", "view"]), min_size=1, max_size=5))
    torch.manual_seed(draw(st.integers(0, 99)))
    net = nn.Sequential(nn.Linear(3, 3))
    for kind in kinds:
        if kind in ("linear", "tied", "view"):
            layer = nn.Linear(3, 3)
            if kind == "tied":
                layer.weight = net[0].weight
            elif kind == "view":
                layer.bias = nn.Parameter(net[0].weight.detach()[0])
        else:
            layer = {"norm": nn.LayerNorm(3), "batch": nn.BatchNorm1d(3), "relu": nn.ReLU()}[kind]
        net.append(layer)
    names = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    return net, draw(st.sets(st.sampled_from(names)))


@settings(max_examples=60, deadline=None)
@given(small_modules())
def test_nothing_done_to_a_fork_changes_a_bit_of_its_parent(case):
    net, names = case
    before, before_flags = all_bits(net), flags(net)
    twin = fork(net, names)
    assert all_bits(twin) == before

    rows = torch.randn(4, 3)
    own = list({id(p): p for p in map(twin.get_parameter, names)}.values())
    for parameter in twin.parameters():
        parameter.requires_grad_(any(parameter is one for one in own))
    out = twin.train()(rows)
    if own and out.requires_grad:
        out.square().sum().backward()
        torch.optim.SGD(own, lr=0.1, momentum=0.9).step()
    for parameter in own:
        parameter.data.fill_(-1.0)
    for buffer in twin.buffers():
        buffer.fill_(3)
    fill(twin, [(name, tensor.repeat(2)) for name, tensor in named_tensors(twin).items() if tensor.dim() == 1])
    for parameter in twin.parameters():
        if parameter.data_ptr() not in {p.data_ptr() for p in net.parameters()}:
            parameter.data.zero_()

    assert all_bits(net) == before
    assert flags(net) == before_flags
    assert all(p.grad is None for p in net.parameters())
    assert net.training


@settings(max_examples=40, deadline=None)
@given(small_modules())
def test_ties_of_a_fork_are_those_of_its_parent(case):
    net, names = case
    twin = fork(net, names)
    old = dict(net.named_parameters(remove_duplicate=False))
    new = dict(twin.named_parameters(remove_duplicate=False))

    def memory(tensor):
        return tensor.untyped_storage().data_ptr()

    for a in old:
        for b in old:
            assert (memory(old[a]) == memory(old[b])) == (memory(new[a]) == memory(new[b]))
    own = {memory(old[name]) for name in names}
    assert all((memory(new[name]) == memory(old[name])) == (memory(old[name]) not in own) for name in old)
