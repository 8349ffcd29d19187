"""``ladder``: the cheapest selection first, and the next one only where it is needed.

The rungs are the head in closed form, then the last block, then the last two. Which of them an update takes is decided
on its training rows; ``update.ladder`` climbs. Rungs above the head choose of the backbone: the head moves anyhow.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.errors import UsageError
from dripstone.core.parts import Chosen
from dripstone.select.selection import Selection
from dripstone.select.share import Draw

LONGEST = 2
"""Blocks of the longest suffix that the ladder tries."""


def rungs(model: nn.Module, head_method: str, loop_method: str, asked: Sequence[str] = ()) -> list[str]:
    """The selections of the ladder for a model, in text form, cheapest first: above the head those asked for, if any.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> rungs(mlp(inputs=2, hidden=[4, 4, 4]), "ridge", "adamw")
    ['head@ridge', 'suffix:1@adamw', 'suffix:2@adamw']
    >>> rungs(mlp(inputs=2, hidden=[4]), "ridge", "sgd", ["low_rank:8"])
    ['head@ridge', 'low_rank:8@sgd']
    >>> rungs(mlp(inputs=2), "ridge", "adamw")
    ['head@ridge']
    """
    blocks = len(find_blocks(model.get_submodule("backbone")))
    usual = [f"suffix:{k}" for k in range(1, min(LONGEST, blocks) + 1)]
    return [f"head@{head_method}", *(f"{rung}@{loop_method}" for rung in asked or usual)]


def choose_rung(rung: Selection, model: nn.Module, draw: Draw | None = None) -> Chosen:
    """What a rung above the head moves of a backbone; the model is left as it was.

    Raises
    ------
    UsageError
        If nothing of the backbone may move.
    """
    head = [parameter for parameter in model.get_submodule("head").parameters() if parameter.requires_grad]
    try:
        for parameter in head:
            parameter.requires_grad_(False)
        chosen = rung.choose(model, draw)
    finally:
        for parameter in head:
            parameter.requires_grad_(True)
    if not chosen.names:
        raise UsageError(
            f"{rung} is no rung here: nothing of the backbone may move",
            remedy="use ladder, or head",
            kind="usage.selection",
        )
    return chosen
