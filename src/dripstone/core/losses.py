"""The loss of each row of a batch, as the loop minimises it and models are measured by it."""

from __future__ import annotations

import torch
from torch import nn

IGNORED = -100
"""The target of a token that is not asked for; torch's own number for it."""


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row, in nats.

    Parameters
    ----------
    outputs : torch.Tensor
        [rows, classes], or of texts [rows, tokens, vocabulary].
    targets : torch.Tensor
        [rows] or [rows, tokens] int64. Of texts the mean is taken over the tokens that are not `IGNORED`.

    Examples
    --------
    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    >>> cross_entropy(torch.zeros(1, 3, 4), torch.tensor([[0, IGNORED, 3]]))
    tensor([1.3863])
    """
    targets = targets.to(outputs.device)
    if targets.dim() == 1:
        return nn.functional.cross_entropy(outputs, targets, reduction="none")
    asked = targets != IGNORED
    # One row a token: with the classes in the middle, as torch would take them too, it takes nearly twice as long.
    flat = outputs.flatten(0, 1), targets.flatten()
    losses = nn.functional.cross_entropy(*flat, reduction="none", ignore_index=IGNORED).view_as(targets)
    return losses.sum(dim=1) / asked.sum(dim=1).clamp_min(1)
