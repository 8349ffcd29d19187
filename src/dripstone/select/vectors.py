"""``vectors``: biases and the gains of normalisation layers, and the head.

A tenth of a percent of a transformer's parameters, so that the change is small in bytes; the backward pass still runs
through every layer (BitFit, arXiv 2106.10199).
"""

from __future__ import annotations

from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.head import head_parameters


def vectors(model: nn.Module, argument: int | None = None) -> list[str]:
    """The backbone's trainable parameters of one dimension, and the head.

    Raises
    ------
    UsageError
        If the backbone has none.
    """
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.startswith("backbone.") and parameter.dim() == 1
    }
    if not found:
        raise UsageError(
            "the backbone has no biases and no gains", remedy="use head, suffix:k or full", kind="usage.selection"
        )
    return [name for name, parameter in found.items() if parameter.requires_grad] + head_parameters(model)
