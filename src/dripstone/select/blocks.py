"""``blocks:p``: a share of the backbone's blocks, wherever they are, and the head.

Three ways to choose them. ``cyclic`` takes the next ones from turn to turn, which are log entries, so that the whole
network learns while an optimiser holds the state of a few blocks (block coordinate descent: BAdam, arXiv 2404.02827).
``random`` draws them (LISA, arXiv 2403.17919). ``gradient`` takes those whose gradient is largest beside their
weights: there a shift has to be answered (relative gradient norm: surgical fine-tuning, arXiv 2210.11466, section 4).
"""

from __future__ import annotations

import torch
from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.errors import UsageError
from dripstone.core.parts import Chosen
from dripstone.select.head import head_parameters
from dripstone.select.share import Draw, trainable


def blocks(model: nn.Module, share: float, by: str, draw: Draw) -> Chosen:
    """Parameters of the chosen blocks and of the head.

    Raises
    ------
    UsageError
        If the backbone has no blocks that may move.
    """
    named = trainable(model)
    found = [f"backbone.{path}." for path in find_blocks(model.get_submodule("backbone"))]
    owned = [[name for name in named if name.startswith(path)] for path in found]
    owned = [names for names in owned if names]
    if not owned:
        raise UsageError("the model has no blocks", remedy="use head, rows:p or entries:p", kind="usage.selection")
    many = max(1, round(share * len(owned)))
    if by == "random":
        places = draw.generator.choice(len(owned), many, replace=False).tolist()
    elif by == "gradient":
        norms = torch.tensor([_relative_norm(names, named, draw) for names in owned]).nan_to_num(nan=0.0)
        places = norms.argsort(descending=True, stable=True)[:many].tolist()
    else:
        places = [(draw.turn * many + step) % len(owned) for step in range(many)]
    chosen = sorted(places)
    return Chosen([name for place in chosen for name in owned[place]] + head_parameters(model))


def _relative_norm(names: list[str], named: dict[str, nn.Parameter], draw: Draw) -> float:
    """||gradient|| / ||weights|| of a block."""
    gradients = sum(float(draw.scores[name].double().square().sum()) for name in names)
    weights = sum(float(named[name].detach().double().square().sum()) for name in names)
    return (gradients / max(weights, torch.finfo(torch.float64).tiny)) ** 0.5
