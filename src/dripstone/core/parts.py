"""Parts of tensors: some rows along a dimension, or single entries, so that no more than these move."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

HEAD = ("head.weight", "head.bias")
"""The parameters of an output layer with a row for each label."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of a tensor's rows, or of its entries.

    Parameters
    ----------
    index : torch.Tensor
        [n] int64, ascending, on the CPU: places along ``dimension``, or in row-major order where that is None.
    dimension : int or None
        Along which whole slices are meant; None for single entries.

    Examples
    --------
    >>> values = torch.arange(6.0).reshape(2, 3)
    >>> Part(torch.tensor([1]), 0).of(values)
    tensor([[3., 4., 5.]])
    >>> Part(torch.tensor([0, 4]), None).of(values)
    tensor([0., 4.])
    """

    index: torch.Tensor
    dimension: int | None

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """The part of something of the tensor's shape, copied: entries as a vector, rows as they are."""
        index = self.index.to(values.device)
        return values.take(index) if self.dimension is None else values.index_select(self.dimension, index)

    def put(self, values: torch.Tensor, part: torch.Tensor) -> None:
        """Write the part, in place; no other bit changes."""
        index = self.index.to(values.device)
        if self.dimension is None:
            values.put_(index, part)
        else:
            values.index_copy_(self.dimension, index, part)

    def before(self, rows: int, shape: Sequence[int]) -> int:
        """How many of its leading places belong to the first rows of a tensor of this shape."""
        limit = rows if self.dimension == 0 else rows * (torch.Size(shape).numel() // max(shape[0], 1))
        return int((self.index < limit).sum())

    def key(self) -> str:
        """A short name that another part of the same tensor does not have."""
        places = hashlib.sha256(self.index.numpy().tobytes()).hexdigest()[:16]
        return f"{'entries' if self.dimension is None else self.dimension}-{places}"


class Chosen(NamedTuple):
    """Parameters that may move, and the parts of those that do not move as a whole."""

    names: list[str]
    parts: Mapping[str, Part] = {}


class Rotation(NamedTuple):
    """What may move changes every so many steps: to the next of ``turns``, which never end."""

    every: int
    turns: Iterator[Chosen]
