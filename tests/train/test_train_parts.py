"""What stays of a parameter that moves in part keeps its bits, whatever the optimiser does."""

import pytest
import torch
from torch import nn

from dripstone.core.config import Step, Stop, TrainConfig
from dripstone.models.growth import grow
from dripstone.select.selection import parse_selection
from dripstone.train.loop import run_loop
from dripstone.train.parts import Kept
from dripstone.train.rows import Rows
from text_samples import stories, tiny


def test_gradients_of_what_stays_are_dropped_before_they_are_clipped():
    weight, other = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    kept = Kept({"weight": weight, "other": other}, {"weight": (0, 1)})
    kept.drop_gradients()  # nothing to drop yet
    (10 * weight.sum() + other.sum()).backward()
    kept.drop_gradients()
    assert weight.grad.tolist() == [[0, 0], [10, 10]]
    assert other.grad.tolist() == [1, 1]


def test_put_back_touches_nothing_else():
    weight = nn.Parameter(torch.tensor([[1.0, 2.0], [float("nan"), -0.0]]))
    kept = Kept({"weight": weight}, {"weight": (1, 1)})
    with torch.no_grad():
        weight.fill_(5.0)
    kept.put_back()
    assert weight[0].tolist() == [1.0, 5.0]
    assert torch.isnan(weight[1, 0])
    assert weight[1, 1] == 5.0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon", "adafactor"])
def test_the_loop_moves_new_units_alone(optimizer):
    model = grow(tiny(), tiny().spec, ffn=8)
    selection = parse_selection("grown")
    names, parts = selection.parameters(model), selection.parts(model)
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
            dimension, first = parts[name]
            old, new = before[name].split([first, 8], dimension), parameter.detach().split([first, 8], dimension)
            assert torch.equal(old[0], new[0]), name
            assert not torch.equal(old[1], new[1]), name
        else:
            assert torch.equal(before[name], parameter), name


def _losses(outputs, targets):
    return nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)
