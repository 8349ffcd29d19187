"""``low_rank:r``: to each linear layer of the backbone a product of two narrow matrices is added, and the head moves.

What moves has rank r and r (m + n) numbers where the layer has m n (LoRA, arXiv 2106.09685). The layers are those whose
weight is a matrix of their own; one that is tied to another, or that its owner reads past the layer, as attention
of torch's own kind does, stays.
"""

from __future__ import annotations

from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.head import head_parameters

_KINDS = (nn.Linear, nn.Conv2d)
"""Layers that PEFT knows and that hold one matrix, besides one of transformers' own."""


def low_rank(model: nn.Module, argument: int | None = None) -> list[str]:
    """The weights that get a product added, and the head's parameters.

    Raises
    ------
    UsageError
        If the backbone has no layer to which a product can be added.
    """
    names = [f"backbone.{path}.weight" for path in low_rank_layers(model.get_submodule("backbone"))]
    if not names:
        raise UsageError(
            f"PEFT knows no layer of this backbone ({', '.join(_kinds(model)) or 'it has none with parameters'})",
            remedy="use suffix:k, vectors, rows:p or entries:p",
            kind="usage.selection",
        )
    return names + head_parameters(model)


def low_rank_layers(backbone: nn.Module) -> list[str]:
    """Paths of the layers that get a product added."""
    owners: dict[int, int] = {}
    for _, parameter in backbone.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    past = {
        f"{path}.{name}"
        for path, one in backbone.named_modules()
        if isinstance(one, nn.MultiheadAttention)
        for name, _ in one.named_modules()
    }
    return [
        path
        for path, layer in backbone.named_modules()
        if path  # PEFT puts another layer in its place, which nobody can do to the backbone itself
        and (type(layer) in _KINDS or is_conv1d(layer))
        and path not in past
        and layer.weight.requires_grad
        and owners[id(layer.weight)] == 1
        and getattr(layer, "groups", 1) == 1
    ]


def is_conv1d(layer: nn.Module) -> bool:
    """Whether it is transformers' own linear layer, which keeps its weight the other way round."""
    kind = type(layer)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")


def _kinds(model: nn.Module) -> list[str]:
    backbone = model.get_submodule("backbone")
    return sorted({type(one).__name__ for one in backbone.modules() if list(one.parameters(recurse=False))})
