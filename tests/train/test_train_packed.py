"""What stays of a parameter that moves in part keeps its bits, whatever the optimiser does."""

import pytest
import torch
from torch import nn

from dripstone.core.config import Step, Stop, TrainConfig
from dripstone.core.parts import Part
from dripstone.models.growth import grow
from dripstone.select.selection import parse_selection
from dripstone.train.carry import load_state, save_state
from dripstone.train.loop import run_loop
from dripstone.train.optimizers import make_optimizers
from dripstone.train.packed import Packed
from dripstone.train.rows import Rows
from text_samples import stories, tiny


def rows(*index):
    return Part(torch.tensor(index), 0)


def test_an_optimiser_sees_the_part_alone():
    weight, other = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    packed = Packed({"weight": weight, "other": other}, {"weight": rows(1)})
    assert [tuple(leaf.shape) for leaf in packed.leaves.values()] == [(1, 2), (2,)]
    (10 * weight.sum() + other.sum()).backward()
    assert weight.grad is None
    assert [leaf.grad.tolist() for leaf in packed.leaves.values()] == [[[10, 10]], [1, 1]]


def test_gradients_of_several_batches_add_up():
    weight = nn.Parameter(torch.ones(2, 2))
    packed = Packed({"weight": weight}, {"weight": Part(torch.tensor([0, 3]), None)})
    for factor in (1.0, 2.0):
        (factor * weight * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    (leaf,) = packed.leaves.values()
    assert leaf.grad.tolist() == [3, 12]
    packed.close()
    weight.sum().backward()
    assert weight.grad is not None
    assert leaf.grad.tolist() == [3, 12]


def test_put_touches_nothing_else():
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [float("nan"), -0.0]]))
    packed = Packed({"weight": weight}, {"weight": Part(torch.tensor([1]), 1)})
    (leaf,) = packed.leaves.values()
    with torch.no_grad():
        leaf.copy_(torch.tensor([[5.0], [6.0]]))
    packed.put()
    assert weight[:, 1].tolist() == [5.0, 6.0]
    assert weight[0, 0] == 1
    assert torch.isnan(weight[1, 0])


def test_a_tied_parameter_is_packed_once():
    net = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    net[1].weight = net[0].weight
    packed = Packed({"0.weight": net[0].weight}, {"0.weight": rows(0)})
    net[1](net[0](torch.ones(1, 2))).sum().backward()
    (leaf,) = packed.leaves.values()
    assert leaf.grad.shape == (1, 2)
    assert net[0].weight.grad is None


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "adafactor"])
def test_the_state_is_as_large_as_what_moves(optimizer):
    weight = nn.Parameter(torch.ones(100, 100))
    packed = Packed({"weight": weight}, {"weight": Part(torch.arange(0, 10_000, 100), None)})
    (made,) = make_optimizers(packed.leaves, TrainConfig(optimizer=optimizer))
    weight.sum().backward()
    made.step()
    sizes = [one.numel() for state in made.state.values() for one in state.values() if isinstance(one, torch.Tensor)]
    assert sum(sizes) <= 2 * 100 + 1


def test_another_part_of_the_same_size_does_not_get_the_state():
    weight = nn.Parameter(torch.ones(4, 2))
    config = TrainConfig(optimizer="adamw")

    def packed(*index):
        found = Packed({"weight": weight}, {"weight": rows(*index)})
        return make_optimizers(found.leaves, config), found.leaves

    first, leaves = packed(0, 1)
    weight.sum().backward()
    first[0].step()
    saved = save_state(first, leaves)
    for index, restored in (((0, 1), 1), ((0, 2), 0)):
        again, named = packed(*index)
        assert load_state(again, named, saved) == restored


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "adafactor"])
def test_the_loop_moves_new_units_alone(optimizer):
    model = grow(tiny(), tiny().spec, ffn=8)
    selection = parse_selection("grown")
    names, parts = selection.choose(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ((windows, targets),) = model.windows([[row["text"] for row in stories(8, 0)]])
    rows = Rows(windows, targets, torch.ones(len(windows)), losses=_losses)
    config = TrainConfig(
        optimizer=optimizer,
        learning_rate=0.01,
        batch_size=2,
        step=Step(weight_decay=0.5, clip=1.0, momentum=0.9 if optimizer == "sgd" else 0.0),
        stop=Stop(epochs=2),
    )
    list(run_loop(model, names, rows, config, "grown", parts=parts))
    for name, parameter in model.named_parameters():
        if name in parts:
            dimension = parts[name].dimension
            first = int(parts[name].index[0])
            old, new = before[name].split([first, 8], dimension), parameter.detach().split([first, 8], dimension)
            assert torch.equal(old[0], new[0]), name
            assert not torch.equal(old[1], new[1]), name
        else:
            assert torch.equal(before[name], parameter), name


def _losses(outputs, targets):
    return nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)


def test_a_sparse_gradient_is_taken_apart_as_any_other():
    table = nn.Embedding(4, 2, sparse=True)
    packed = Packed({"weight": table.weight}, {"weight": Part(torch.tensor([3, 6]), None)})
    table(torch.tensor([1, 2])).sum().backward()
    (leaf,) = packed.leaves.values()
    assert leaf.grad.tolist() == [1.0, 0.0]
    assert table.weight.grad is None
