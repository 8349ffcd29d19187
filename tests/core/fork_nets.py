"""Modules that the tests of forks share, and how to compare them bit by bit."""

from __future__ import annotations

from torch import nn

from dripstone.core.bits import to_raw


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
