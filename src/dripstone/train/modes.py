"""Train and eval mode, set for a while and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import nn

from dripstone.core.protocols import Model


def set_modes(model: Model | nn.Module, training: bool) -> None:
    """Train or eval mode for every module, whatever a model's own ``train`` does.

    Examples
    --------
    >>> net = nn.Sequential(nn.Dropout())
    >>> set_modes(net, False)
    >>> net[0].training
    False
    """
    for part in cast(nn.Module, model).modules():
        part.training = training


@contextmanager
def evaluating(model: Model | nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module has the mode that it had.

    Examples
    --------
    >>> net = nn.Sequential(nn.Dropout())
    >>> with evaluating(net):
    ...     print(net[0].training)
    False
    >>> net[0].training
    True
    """
    modes = {part: part.training for part in cast(nn.Module, model).modules()}
    set_modes(model, False)
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
