"""Nothing that is done to a fork changes a bit of its parent."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from dripstone.core.bits import to_raw
from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors, fill, fork, named_tensors


def all_bits(module):
    """Every tensor of the module, non-persistent buffers and aliases too, as bytes."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: to_raw(tensor) for name, tensor in tensors}


def flags(module):
    return {name: p.requires_grad for name, p in module.named_parameters()}


def shared(twin, module):
    """Names whose memory the two have in common."""
    old = {name: p.data_ptr() for name, p in module.named_parameters()}
    return {name for name, p in twin.named_parameters() if p.data_ptr() == old[name]}


def net_with_norm():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


class Tied(nn.Module):
    """An embedding and an output layer over one tensor."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, rows):
        return self.out(self.embed(rows))


class ExtraState(nn.Linear):
    def __init__(self, value):
        super().__init__(1, 1)
        self.value = value

    def get_extra_state(self):
        return self.value

    def set_extra_state(self, state):
        self.value = state


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
    with pytest.raises(ModelError, match="'0.weight' has no shape yet") as caught:
        fork(nn.Sequential(layer()), names)
    assert caught.value.kind == "model.lazy"


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_buffers_are_refused():
    with pytest.raises(ModelError, match="'0.running_mean' has no shape yet"):
        fork(nn.Sequential(nn.LazyBatchNorm1d(affine=False)), [])


def test_what_cannot_be_copied_is_named():
    with_lock, with_graph = nn.Linear(1, 1), nn.Linear(1, 1)
    with_lock.lock = threading.Lock()
    with_graph.last = with_graph(torch.ones(1, 1))
    for net in (with_lock, with_graph):
        with pytest.raises(ModelError, match="Linear cannot be copied") as caught:
            fork(net, [])
        assert caught.value.kind == "model.copy"


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
    fill(net, {"embed.weight": torch.ones(5, 3)})
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
    fill(twin, grown)
    assert twin(torch.randn(4, 2)).shape == (4, 5)
    assert isinstance(twin[2].weight, nn.Parameter)
    assert flags(twin) == flags(net)
    assert list(named_tensors(twin)) == list(named_tensors(net))
    assert all_bits(net) == before
    twin[2].weight.data.zero_()
    assert grown["2.weight"].abs().sum() > 0, "the caller's tensors are not taken over"


def test_fill_with_a_grown_buffer():
    net = nn.BatchNorm1d(2)
    fill(net, {"running_mean": torch.ones(4)})
    assert "running_mean" in dict(net.named_buffers())
    assert net.running_mean.shape == (4,)


def test_fill_accepts_zero_dimensions_and_empties():
    net = nn.BatchNorm1d(2)
    net.register_buffer("none", torch.empty(0))
    fill(net, {"num_batches_tracked": torch.tensor(7), "none": torch.empty(0)})
    assert net.num_batches_tracked.item() == 7


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"2.scale": torch.ones(1)}, "which the module does not have"),
        ({"2.bias": torch.ones(2, dtype=torch.float64)}, "is torch.float64 in the weights and torch.float32"),
    ],
)
def test_fill_refuses_all_or_nothing(bad, words):
    net = net_with_norm()
    before = all_bits(net)
    with pytest.raises(ModelError, match=words) as caught:
        fill(net, {"0.weight": torch.zeros(3, 2), **bad})
    assert caught.value.kind == "model.weights"
    assert all_bits(net) == before


def test_a_delta_rebuilds_the_fork():
    net = net_with_norm()
    twin = fork(net, ["0.weight", "2.bias"])
    twin(torch.randn(8, 2))
    twin[0].weight.data.add_(1.0)
    other = fork(net, ["0.weight"])
    fill(other, changed_tensors(twin, net))
    assert all_bits(other) == all_bits(twin)


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
    own = [twin.get_parameter(name) for name in names]
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
    fill(twin, {name: tensor.repeat(2) for name, tensor in named_tensors(twin).items() if tensor.dim() == 1})
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
