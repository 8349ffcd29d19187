"""``head``: the output layer alone."""

from __future__ import annotations

from torch import nn


def head(model: nn.Module, argument: int | None = None) -> list[str]:
    """The trainable parameters of ``model.head``."""
    return [name for name, p in model.named_parameters() if name.startswith("head.") and p.requires_grad]
