"""``rows:p``: rows of weight matrices, biases and gains one by one, that hold a share of all numbers together.

A row of a matrix is what one unit reads, of an embedding one token. ``gradient`` takes the rows whose gradient is
largest a number, ``random`` draws them. Rows of the output layer that belong to new labels come first, whatever the
share: nothing else could learn them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dripstone.core.parts import Chosen, Part
from dripstone.select.share import Draw, as_chosen_part, budget, new_rows, trainable


def rows(model: nn.Module, share: float, by: str, draw: Draw) -> Chosen:
    """The chosen rows, as parts of their parameters."""
    named = trainable(model)
    if not named:  # a head without labels yet, on a backbone without parameters
        return Chosen([])
    owners = np.repeat(np.arange(len(named)), [_rows_of(one) for one in named.values()])
    places = np.concatenate([np.arange(_rows_of(one)) for one in named.values()])
    sizes = np.array([one.numel() // _rows_of(one) for one in named.values()])[owners]
    worth = draw.generator.random(len(owners)) if by == "random" else _mean_squares(named, draw)
    is_new = np.zeros(len(owners), dtype=bool)
    for name, first in new_rows(model, named, draw.known).items():
        is_new |= (owners == list(named).index(name)) & (places >= first)
    taken = is_new | _affordable(np.where(is_new, -1.0, worth), sizes, budget(named, share) - int(sizes[is_new].sum()))
    if not taken.any():  # every row is larger than the share
        taken[np.argmax(worth)] = True
    names, parts = [], dict[str, Part]()
    for number, (name, parameter) in enumerate(named.items()):
        index = torch.from_numpy(places[taken & (owners == number)])
        if len(index):
            names.append(name)
            part = as_chosen_part(parameter, index, 0 if parameter.dim() else None)
            parts |= {name: part} if part is not None else {}
    return Chosen(names, parts)


def _rows_of(parameter: nn.Parameter) -> int:
    return parameter.shape[0] if parameter.dim() else 1


def _mean_squares(named: dict[str, nn.Parameter], draw: Draw) -> np.ndarray:
    """[rows]: the mean square of each row's scores."""
    means = [
        draw.scores[name].float().reshape(_rows_of(one), -1).square().mean(dim=1).cpu().numpy()
        for name, one in named.items()
    ]
    return np.nan_to_num(np.concatenate(means), nan=0.0)


def _affordable(worth: np.ndarray, sizes: np.ndarray, room: int) -> np.ndarray:
    """Which rows are taken: the worthiest first, each that still fits; none of negative worth."""
    taken = np.zeros(len(worth), dtype=bool)
    for row in np.argsort(-worth, kind="stable"):
        if room <= 0 or worth[row] < 0:
            break
        if sizes[row] <= room:
            taken[row] = True
            room -= int(sizes[row])
    return taken
