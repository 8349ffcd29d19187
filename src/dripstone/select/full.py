"""``full``: every trainable parameter."""

from __future__ import annotations

from torch import nn


def full(model: nn.Module, argument: int | None = None) -> list[str]:
    """All parameters that the model does not hold fixed (random projections stay)."""
    return [name for name, p in model.named_parameters() if p.requires_grad]
