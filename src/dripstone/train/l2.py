"""L2: every chosen parameter is held where it started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class L2Penalty:
    """A term of the loss: half the squared distance of the parameters from where they started.

    Unlike weight decay, which pulls towards zero, it pulls towards the champion.

    Parameters
    ----------
    weight : float
        Of the term.
    parameters : sequence of torch.nn.Parameter
        The live parameters, at least one.
    starts : sequence of torch.Tensor
        Copies of their values before training. One with fewer rows than its parameter, which has grown since, holds
        those rows alone.

    References
    ----------
    Li et al., "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", arXiv 1802.01483 (L2-SP).

    Examples
    --------
    >>> parameter = nn.Parameter(torch.tensor([3.0, 4.0, 9.0]))
    >>> L2Penalty(2.0, [parameter], [torch.zeros(2)]).loss().item()
    25.0
    """

    weight: float
    parameters: Sequence[nn.Parameter]
    starts: Sequence[torch.Tensor]

    def loss(self) -> torch.Tensor:
        """The weighted term, a scalar to be added to the loss."""
        pairs = zip(self.parameters, self.starts, strict=True)
        # One fused pass each way: over every parameter of an encoder, a plain difference and square cost twice as much.
        squares = [nn.functional.mse_loss(held_part(live, start), start, reduction="sum") for live, start in pairs]
        return self.weight / 2 * torch.stack(squares).sum()


def held_part(values: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The part of a parameter, or of anything of its shape, that a start belongs to: if it has grown, the old rows.

    Examples
    --------
    >>> held_part(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(2))
    tensor([1., 2.])
    """
    return values if values.shape == start.shape else values[: len(start)]
