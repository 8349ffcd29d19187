"""``head``: the output layer alone."""

from __future__ import annotations

from torch import nn

from dripstone.core.errors import UsageError


def head(model: nn.Module, argument: int | None = None) -> list[str]:
    """The trainable parameters of ``model.head``.

    Raises
    ------
    UsageError
        If there are none: the output layer is tied to the embedding.
    """
    names = head_parameters(model)
    if not names:
        raise UsageError(
            "the output layer is tied to the embedding, and cannot move alone",
            remedy="use suffix:k, vectors or full",
            kind="usage.selection",
        )
    return names


def head_parameters(model: nn.Module) -> list[str]:
    """The trainable parameters of ``model.head`` that are not tied to any before it."""
    return [name for name, p in model.named_parameters() if name.startswith("head.") and p.requires_grad]
