"""Parameters of which only a part may move: the rest is put back, bit for bit, after every step.

Zeros in the gradient would not do: weight decay moves what has none, and so may a momentum.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class Kept:
    """What stays of parameters that move in part.

    Parameters
    ----------
    named : mapping of str to torch.nn.Parameter
        The parameters that move.
    parts : mapping of str to (int, int)
        Of those that move in part, the dimension in which they do so, and the first index of what moves.

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(2, 3))
    >>> kept = Kept({"weight": weight}, {"weight": (1, 2)})
    >>> optimizer = torch.optim.AdamW([weight], lr=0.5, weight_decay=0.1)
    >>> weight.sum().backward()
    >>> kept.drop_gradients()
    >>> optimizer.step()
    >>> kept.put_back()
    >>> weight.detach()
    tensor([[1.0000, 1.0000, 0.4500],
            [1.0000, 1.0000, 0.4500]])
    """

    def __init__(self, named: Mapping[str, nn.Parameter], parts: Mapping[str, tuple[int, int]]) -> None:
        self._parts = [(named[name], dimension, first) for name, (dimension, first) in parts.items()]
        self._values = [self._of(*part).detach().clone() for part in self._parts]

    def drop_gradients(self) -> None:
        """Of what stays, so that neither the norm of all gradients nor an optimiser goes by them."""
        for parameter, dimension, first in self._parts:
            if parameter.grad is not None:
                parameter.grad.narrow(dimension, 0, first).zero_()

    @torch.no_grad()
    def put_back(self) -> None:
        """What stays, as it was."""
        for part, value in zip(self._parts, self._values, strict=True):
            self._of(*part).copy_(value)

    def _of(self, parameter: nn.Parameter, dimension: int, first: int) -> torch.Tensor:
        return parameter.narrow(dimension, 0, first)
