"""What stands between the layers of the models that begin from nothing, by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from dripstone.core.errors import ModelError

RELU = "relu"
ACTIVATIONS: dict[str, type[nn.Module]] = {RELU: nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def activation_of(name: str) -> nn.Module:
    """A new module of that name.

    Raises
    ------
    ModelError
        If there is none.

    Examples
    --------
    >>> activation_of("silu")
    SiLU()
    """
    kind = ACTIVATIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ModelError(
            f"there is no activation {name!r}", remedy=f"use {' or '.join(ACTIVATIONS)}", kind="model.arguments"
        )
    return kind()


def activation_arguments(name: str) -> dict[str, Any]:
    """What a spec says of it: nothing of the usual one, so that specs from before there was a choice stay as they were.

    Examples
    --------
    >>> activation_arguments("gelu"), activation_arguments("relu")
    ({'activation': 'gelu'}, {})
    """
    return {} if name == RELU else {"activation": name}
