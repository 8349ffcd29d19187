"""``entries:p``: single numbers, anywhere in the model, that are a share of all.

``random`` draws them (SHiRA, arXiv 2406.13175), ``gradient`` takes those of the largest gradient (SIFT, arXiv
2312.11875), ``fisher`` those of the largest Fisher information (FISH mask, arXiv 2111.09839). The new labels' entries
of the output layer come first, whatever the share: nothing else could learn them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dripstone.core.parts import Chosen, Part
from dripstone.select.share import Draw, as_chosen_part, budget, new_rows, trainable


def entries(model: nn.Module, share: float, by: str, draw: Draw) -> Chosen:
    """The chosen entries, as parts of their parameters."""
    named = trainable(model)
    if not named:
        return Chosen([])
    new = new_rows(model, named, draw.known)
    fresh = {name: _entries_of_rows(named[name], first) for name, first in new.items()}
    old = {name: one.numel() - len(fresh.get(name, ())) for name, one in named.items()}
    room = budget(named, share) - sum(map(len, fresh.values()))
    found = _drawn(old, room, draw.generator) if by == "random" else _largest(old, room, draw)
    names, parts = [], dict[str, Part]()
    for name, parameter in named.items():
        index = torch.cat([found[name], fresh.get(name, found[name][:0])])
        if len(index):
            names.append(name)
            part = as_chosen_part(parameter, index, None)
            parts |= {name: part} if part is not None else {}
    return Chosen(names, parts)


def _entries_of_rows(parameter: nn.Parameter, first: int) -> torch.Tensor:
    """Entries of the rows from one on: the last of all."""
    return torch.arange(first * (parameter.numel() // len(parameter)), parameter.numel())


def _drawn(sizes: dict[str, int], room: int, generator: np.random.Generator) -> dict[str, torch.Tensor]:
    """Of the first entries of each parameter, so many of all at random."""
    ends = np.cumsum(list(sizes.values()))
    picked = np.sort(generator.choice(int(ends[-1]), min(max(room, 0), int(ends[-1])), replace=False, shuffle=False))
    cuts = np.searchsorted(picked, ends)
    starts = np.concatenate([[0], ends[:-1]])
    parts = np.split(picked, cuts[:-1])
    return {name: torch.from_numpy(part - start) for name, part, start in zip(sizes, parts, starts, strict=True)}


def _largest(sizes: dict[str, int], room: int, draw: Draw) -> dict[str, torch.Tensor]:
    """Of the first entries of each parameter, the so many of all with the largest scores."""
    best, owners, places = torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    for number, (name, size) in enumerate(sizes.items()):
        scores = draw.scores[name].reshape(-1)[:size].abs().float().cpu().nan_to_num(nan=0.0)
        top = scores.topk(min(max(room, 0), size), sorted=False)
        best, owners = torch.cat([best, top.values]), torch.cat([owners, torch.full_like(top.indices, number)])
        places = torch.cat([places, top.indices])
        kept = best.topk(min(max(room, 0), len(best)), sorted=False).indices
        best, owners, places = best[kept], owners[kept], places[kept]
    return {name: places[owners == number] for number, name in enumerate(sizes)}
