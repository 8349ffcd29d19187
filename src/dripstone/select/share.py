"""What the selectors that take a share of the parameters have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from dripstone.core.parts import Part


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """By what a share is chosen.

    ``scores`` are what each entry of each parameter is worth, of the parameters' shapes, for those who go by them;
    ``generator`` and ``turn`` are for the others. Of a head that has grown, the first ``known`` rows are old: those
    after them have learned nothing yet, and come first.
    """

    scores: Mapping[str, torch.Tensor] = field(default_factory=dict)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    turn: int = 0
    known: int = 0


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that may move at all, a tied one once, those without a number left out."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad and one.numel()}


def budget(named: Mapping[str, nn.Parameter], share: float) -> int:
    """How many numbers a share is, at least one."""
    return max(1, int(share * sum(parameter.numel() for parameter in named.values())))


def new_rows(model: nn.Module, named: Mapping[str, nn.Parameter], known: int) -> dict[str, int]:
    """Of parameters that have grown with the labels, the first new row."""
    growing: frozenset[str] = model.growing  # type: ignore[assignment]
    return {name: known for name in growing if name in named and len(named[name]) > known}


def as_chosen_part(parameter: nn.Parameter, index: torch.Tensor, dimension: int | None) -> Part | None:
    """The part, None where it is all of the parameter."""
    whole = parameter.numel() if dimension is None else parameter.shape[dimension]
    return None if len(index) == whole else Part(index.sort().values, dimension)
