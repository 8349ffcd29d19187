"""What is moved to a device, what is drawn there, and the precision of training there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.config import Stop, TrainConfig
from dripstone.core.devices import has_bfloat16, place
from dripstone.core.fork import changed_tensors, fork, named_tensors
from dripstone.core.seeding import drawn_apart, seeded
from dripstone.models import mlp
from dripstone.train.loop import run_loop
from dripstone.train.rows import Rows

pytestmark = pytest.mark.gpu


class Halves(nn.Module):
    """Two parameters in one storage, a buffer that is registered twice, and an empty one."""

    def __init__(self):
        super().__init__()
        both = torch.arange(8.0)
        self.first, self.second = nn.Parameter(both[:4].view(2, 2)), nn.Parameter(both[4:])
        self.register_buffer("alone", torch.tensor(3.0))
        self.register_buffer("empty", torch.empty(0, 2))
        self.inner = nn.Module()
        self.inner.register_buffer("same", self.alone)


def test_tensors_that_share_storage_share_it_there(some_device):
    before = Halves()
    after = place(fork(before, []), some_device)
    assert {tensor.device for tensor in [*after.parameters(), *after.buffers()]} == {some_device}
    assert after.first.untyped_storage().data_ptr() == after.second.untyped_storage().data_ptr()
    assert after.inner.same is after.alone
    assert list(named_tensors(after)) == list(named_tensors(before))
    assert not changed_tensors(after, before)
    assert before.first.device.type == "cpu"
    twin = fork(after, ["first"])
    assert twin.second.untyped_storage().data_ptr() == twin.first.untyped_storage().data_ptr()
    assert twin.first.untyped_storage().data_ptr() != after.first.untyped_storage().data_ptr()


def test_what_is_there_already_stays_where_it_is(some_device):
    module = place(Halves(), some_device)
    pointer = module.first.data_ptr()
    assert place(module, some_device).first.data_ptr() == pointer


def test_draws_on_the_device_are_our_own(some_device):
    torch.manual_seed(1)
    expected = torch.rand(3, device=some_device)
    torch.manual_seed(1)
    with seeded(5, some_device):
        first = torch.rand(3, device=some_device)
    with drawn_apart(some_device):
        torch.rand(3, device=some_device)
    assert torch.equal(torch.rand(3, device=some_device), expected)
    with seeded(5, some_device):
        assert torch.equal(torch.rand(3, device=some_device), first)


def test_a_gpu_with_units_for_it_trains_the_backbone_in_bfloat16(some_device):
    if not has_bfloat16(some_device):
        pytest.skip("needs a GPU with bfloat16")
    draw = np.random.default_rng(0)
    inputs = [draw.normal(size=4).astype("f4") for _ in range(64)]
    model = place(mlp(inputs=4, hidden=[16, 16], random_features=32), some_device)
    model.head.grow(2)
    dtypes = []
    model.backbone[-1][0].register_forward_hook(lambda module, args, output: dtypes.append(output.dtype))
    targets = torch.tensor([int(row[0] > 0) for row in inputs])
    config = TrainConfig(stop=Stop(epochs=1))
    names = [name for name, _ in model.named_parameters() if "expansion" not in name]
    list(run_loop(model, names, Rows(inputs, targets, torch.ones(64)), config, "full"))
    assert set(dtypes) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
