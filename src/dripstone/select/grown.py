"""``grown``: what the model last grew by, and nothing else.

New blocks move as a whole; of a feed-forward layer that has new hidden units, the rows and columns of these. As long as
nothing else moves, the deltas hold nothing else, and what the model knew before it grew stays bit for bit (block
expansion, LLaMA Pro, arXiv 2401.02415).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dripstone.core.errors import UsageError
from dripstone.core.parts import Part


def grown(model: nn.Module, argument: int | None = None) -> list[str]:
    """The trainable parameters that have grown, or are new.

    Raises
    ------
    UsageError
        If the model has not grown.
    """
    parts = _parts(model)
    return [name for name, p in model.named_parameters() if name in parts and p.requires_grad]


def new_parts(model: nn.Module) -> dict[str, Part]:
    """Of parameters that are new in part, what is new."""
    return {
        name: Part(torch.arange(first, model.get_parameter(name).shape[dimension]), dimension)
        for name, (dimension, first) in _parts(model).items()
        if first
    }


def _parts(model: nn.Module) -> dict[str, tuple[int, int]]:
    backbone: Any = model.get_submodule("backbone")
    parts = backbone.newest() if hasattr(backbone, "newest") else {}
    if not parts:
        raise UsageError(
            "the model has not grown, so that nothing in it is new",
            remedy="grow it with 'dripstone grow', or use suffix:k, vectors or full",
            kind="usage.selection",
        )
    return {f"backbone.{name}": part for name, part in parts.items()}
