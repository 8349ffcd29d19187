"""Low rank: products of narrow matrices beside frozen layers, trained through PEFT and added to the layers' weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import UsageError
from dripstone.core.low_rank import Factors, add_product
from dripstone.core.seeding import seeded

ADAPTER = "default"
"""What PEFT calls ours."""


@dataclass(slots=True, eq=False)
class Adapted:
    """A backbone with products beside its layers.

    ``names`` are the trainable factors, by their names within the whole model. ``factors`` are what they have become
    once the block ends, by the name of the weight that they were added to.
    """

    names: list[str] = field(default_factory=list)
    factors: dict[str, Factors] = field(default_factory=dict)


@contextmanager
def adapted(model: nn.Module, weights: Sequence[str], rank: int, seed: int) -> Iterator[Adapted]:
    """Put products of this rank beside the layers of some weights, and add them to these at the end.

    A product begins as 0: one of its factors is random, the other 0. After an error nothing is added.

    Parameters
    ----------
    model : torch.nn.Module
        A fork that owns the weights.
    weights : sequence of str
        Names of the layers' weights within the whole model, all of its backbone.
    rank : int
        Columns of the one factor, and rows of the other.
    seed : int
        Of the random factors.

    Raises
    ------
    UsageError
        ``usage.extra`` if PEFT is not installed.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2, hidden=[2], random_features=16)
    >>> with adapted(model, ["backbone.0.0.weight"], rank=1, seed=0) as products:
    ...     print(products.names)
    ['backbone.0.0.lora_A.default.weight', 'backbone.0.0.lora_B.default.weight']
    >>> products.factors["backbone.0.0.weight"].right.shape
    (1, 2)
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise UsageError(
            f"low_rank trains through PEFT, which cannot be imported ({error})",
            remedy="pip install 'dripstone[peft]', or use another selection",
            kind="usage.extra",
        ) from error
    backbone = model.get_submodule("backbone")
    flags = [(parameter, parameter.requires_grad) for parameter in backbone.parameters()]
    layers = {name: name.removeprefix("backbone.").removesuffix(".weight") for name in weights}
    settings = lora_settings({path: min(rank, *_matrix(model, name)) for name, path in layers.items()})
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # PEFT finds out which way each layer keeps its weight
        tuner = LoraModel(backbone, LoraConfig(**settings), ADAPTER)
    # In eval mode torch's own transformer layers read weights past the layers that hold them, products or not.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    products = Adapted([f"backbone.{path}.lora_{one}.{ADAPTER}.weight" for path in layers.values() for one in "AB"])
    try:
        yield products
        products.factors = {name: _factors(backbone.get_submodule(path)) for name, path in layers.items()}
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        tuner.unload()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
    _add(model, products.factors)


def lora_settings(ranks: Mapping[str, int]) -> dict[str, Any]:
    """PEFT's settings for products of these ranks beside the layers on some paths.

    The share of a product that counts is alpha over its rank; it is all of it.

    Examples
    --------
    >>> lora_settings({"0.0": 8, "1.0": 4})["rank_pattern"]
    {'^0\\\\.0': 8, '^1\\\\.0': 4}
    """
    patterns = {f"^{re.escape(path)}": rank for path, rank in ranks.items()}
    return {
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "target_modules": "|".join(re.escape(path) for path in ranks),
        "rank_pattern": patterns,
        "alpha_pattern": patterns,
    }


def _matrix(model: nn.Module, name: str) -> tuple[int, int]:
    """Rows and columns of a weight: no product has more ranks."""
    weight = model.get_parameter(name)
    return len(weight), weight.numel() // len(weight)


def _factors(layer: nn.Module) -> Factors:
    """What a layer of PEFT's adds to the weight of the one that it stands for."""
    first, second = (getattr(layer, f"lora_{one}")[ADAPTER].weight.detach().float().cpu() for one in "AB")
    left, right = second.flatten(1), first.flatten(1)
    if getattr(layer, "fan_in_fan_out", False):  # transformers' Conv1D keeps its weight the other way round
        left, right = right.T, left.T
    return Factors(*(np.ascontiguousarray(factor.numpy()) for factor in (left, right)))


@torch.no_grad()
def _add(model: nn.Module, factors: Mapping[str, Factors]) -> None:
    for name, product in factors.items():
        weight = model.get_parameter(name)
        weight.copy_(from_raw(add_product(to_raw(weight), product)))
