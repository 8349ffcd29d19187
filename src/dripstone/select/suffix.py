"""``suffix:k``: the last k blocks of the backbone, what follows them, and the head.

Which layers should move depends on the shift: the last ones for new outputs, the first for corrupted inputs (surgical
fine-tuning, arXiv 2210.11466).
"""

from __future__ import annotations

from torch import nn

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import UsageError
from dripstone.select.head import head_parameters


def suffix(model: nn.Module, argument: int | None = None) -> list[str]:
    """Parameters of the last ``argument`` blocks and the head.

    Raises
    ------
    UsageError
        If the backbone has fewer blocks.
    """
    k = argument or 1
    backbone = model.get_submodule("backbone")
    blocks = find_blocks(backbone)
    if k > len(blocks):
        remedy = f"use suffix:1 to suffix:{len(blocks)}" if blocks else "use head or full"
        raise UsageError(f"suffix:{k} asks for {k} blocks, the model has {len(blocks)}", remedy=remedy)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    names = [f"backbone.{name}" for name in suffix_parameters(backbone, k)]
    return [name for name in names if name in trainable] + head_parameters(model)
