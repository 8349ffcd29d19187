"""Shuffled batches of even size, texts of like length together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dripstone.core.examples import Inputs

POOL = 20
"""Batches whose texts are sorted together, at most: sorting all of them would give the same batches every epoch."""


def make_batches(
    inputs: Sequence[Inputs], counting: torch.Tensor, size: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """The batches of an epoch: every row once.

    Texts are shuffled, cut into pools of up to 20 batches and sorted by their characters within each, so that less is
    spent on padding; then the order of the batches is shuffled. Arrays are only shuffled.

    Parameters
    ----------
    inputs : sequence of str or numpy.ndarray
        All rows; may be empty, then rows are treated like arrays.
    counting : torch.Tensor
        [counting] int64 indices of the rows that count.
    size : int
        Largest number of rows in a batch. No two batches differ by more than one row, so that no single row is left
        over, but for an odd number of rows in batches of 2.
    generator : torch.Generator
        The same state gives the same batches.

    Returns
    -------
    list of torch.Tensor
        [batch] int64 indices each; none for no rows.

    Examples
    --------
    >>> rows = ["a", "some more words", "b", "as many words"]
    >>> batches = make_batches(rows, torch.arange(4), 2, torch.Generator().manual_seed(0))
    >>> sorted(sorted(batch.tolist()) for batch in batches)
    [[0, 2], [1, 3]]
    """
    order = counting[torch.randperm(len(counting), generator=generator)]
    if len(order) == 0:
        return []
    batches = list(order.tensor_split(math.ceil(len(order) / size)))
    if not (inputs and isinstance(inputs[0], str)):
        return batches
    pool = math.ceil(len(batches) / math.ceil(len(batches) / POOL))
    alike = [batch for i in range(0, len(batches), pool) for batch in _by_length(inputs, batches[i : i + pool])]
    return [alike[i] for i in torch.randperm(len(alike), generator=generator).tolist()]


def _by_length(inputs: Sequence[Inputs], batches: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """The same rows in batches of the same sizes, the shortest texts in the first one."""
    together = torch.cat(list(batches))
    lengths = torch.tensor([len(inputs[i]) for i in together.tolist()])
    return together[lengths.argsort(stable=True)].split([len(batch) for batch in batches])
