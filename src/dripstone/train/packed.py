"""Packing: parts of parameters in parameters of their own, which are all that an optimiser sees.

Its state is as large as what moves, and nothing else can move: zeros in a gradient would not keep weight decay, or an
old momentum, from what was not chosen. A whole parameter's gradient is dropped as soon as its part is taken out of it,
so that there is never more than one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from dripstone.core.parts import Part


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """A parameter of the model, the part of it that moves (None for all of it), and what an optimiser holds for it."""

    parameter: nn.Parameter
    part: Part | None
    leaf: nn.Parameter

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """What belongs to the leaf, of something of the parameter's shape."""
        return values if self.part is None else self.part.of(values)

    def take_gradient(self, parameter: nn.Parameter) -> None:
        """Hand the part's gradient to the leaf, and drop the whole one."""
        whole: torch.Tensor = parameter.grad  # type: ignore[assignment]
        gradient = self.of(whole.to_dense() if whole.is_sparse else whole)
        self.leaf.grad = gradient if self.leaf.grad is None else self.leaf.grad.add_(gradient)
        parameter.grad = None


@dataclass(slots=True, eq=False)
class Packed:
    """What moves, packed.

    Parameters
    ----------
    named : mapping of str to torch.nn.Parameter
        Parameters of the model that move.
    parts : mapping of str to Part
        Of those that move in part.

    Attributes
    ----------
    moving : dict of str to Moving
        By the parameter's name; with a key of the part's, where there is one, so that no other part of the same size is
        taken for it.

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(2, 3))
    >>> packed = Packed({"weight": weight}, {"weight": Part(torch.tensor([2]), 1)})
    >>> optimizer = torch.optim.AdamW(packed.leaves.values(), lr=0.5, weight_decay=0.1)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> packed.put()
    >>> weight.detach()
    tensor([[1.0000, 1.0000, 0.4500],
            [1.0000, 1.0000, 0.4500]])
    """

    named: Mapping[str, nn.Parameter]
    parts: Mapping[str, Part]
    moving: dict[str, Moving] = field(init=False, default_factory=dict)
    _hooks: list[RemovableHandle] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for name, parameter in self.named.items():
            part = self.parts.get(name)
            if part is None:
                self.moving[name] = Moving(parameter, None, parameter)
                continue
            moving = Moving(parameter, part, nn.Parameter(part.of(parameter.detach())))
            self.moving[f"{name}[{part.key()}]"] = moving
            self._hooks.append(parameter.register_post_accumulate_grad_hook(moving.take_gradient))

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """What an optimiser holds, by name."""
        return {name: moving.leaf for name, moving in self.moving.items()}

    @torch.no_grad()
    def put(self) -> None:
        """Write the leaves into the parameters that they are parts of."""
        for moving in self.moving.values():
            if moving.part is not None:
                moving.part.put(moving.parameter, moving.leaf)

    def close(self) -> None:
        """Take no more gradients."""
        for hook in self._hooks:
            hook.remove()
