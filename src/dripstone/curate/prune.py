"""Pruning: which rows an epoch learns, so that it costs less than one over all of them.

References
----------
RS2: Okanovic et al., "Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning", arXiv 2305.18424,
algorithm 1 (without replacement). InfoBatch: Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic
Data Pruning", arXiv 2303.04947, equations 2 to 6.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

ANNEALED = 0.125
"""Share of the epochs, the last ones, in which InfoBatch learns every row."""

FEWEST = 2
"""Rows an epoch learns at least, of two or more: one alone has no variance to normalise by."""


@dataclass(frozen=True, slots=True)
class Prune:
    """The policy ``prune``.

    ``share`` is how much of the rows an epoch learns (``rs2``), or how much of the well-learned ones it leaves out
    (``infobatch``).

    Examples
    --------
    >>> Prune.parse([]), str(Prune.parse(["0.7"])), str(Prune.parse(["infobatch"]))
    (Prune(rule='rs2', share=0.5), 'prune:0.7', 'prune:infobatch:0.5')
    """

    FORMS: ClassVar[tuple[str, ...]] = ("prune", "prune:SHARE", "prune:infobatch", "prune:infobatch:SHARE")

    rule: str = "rs2"
    share: float = 0.5

    @classmethod
    def parse(cls, words: Sequence[str]) -> Prune | None:
        """The policy from the words after its name; None if they mean nothing."""
        words = list(words)
        rule = words.pop(0) if words[:1] == ["infobatch"] else "rs2"
        if not words:
            return cls(rule)
        readable = len(words) == 1 and re.fullmatch(r"0?\.[0-9]{1,9}", words[0])
        return cls(rule, float(words[0])) if readable and float(words[0]) > 0 else None

    def __str__(self) -> str:
        share = f"{self.share:.9f}".rstrip("0")  # as many digits as `parse` reads
        return f"prune:{share}" if self.rule == "rs2" else f"prune:infobatch:{share}"

    def choose(
        self, rows: torch.Tensor, losses: torch.Tensor, epoch: int, epochs: int, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows that an epoch learns, and what the weight of each is multiplied by.

        ``rs2`` goes through all rows in a fresh order, a part of them an epoch, and begins anew at their end: no row
        waits for more than two rounds. ``infobatch`` leaves out rows whose loss was below the mean, each with the
        probability ``share``, and multiplies the others of them by 1 / (1 - share), so that the expected gradient is
        that of all rows; rows not seen yet, two that are drawn, and all in the last eighth of the epochs, are learned.

        Parameters
        ----------
        rows : torch.Tensor
            [rows] int64 indices of those that may be learned.
        losses : torch.Tensor
            [all rows] float64: the loss of each when it was last learned, NaN where it was not.
        epoch, epochs : int
            Which it is, from 1, and of how many.
        seed : int
            The same seed gives the same rows.

        Returns
        -------
        tuple of torch.Tensor
            Indices, int64, and factors, float64, [chosen].

        Examples
        --------
        >>> rows, unknown = torch.arange(4), torch.full((4,), torch.nan)
        >>> first, second = (Prune("rs2", 0.5).choose(rows, unknown, epoch, 4, seed=0)[0] for epoch in (1, 2))
        >>> sorted([*first.tolist(), *second.tolist()])
        [0, 1, 2, 3]
        """
        chosen = _fresh_part(rows, self.share, epoch, seed) if self.rule == "rs2" else rows
        factors = torch.ones(len(chosen), dtype=torch.float64)
        if self.rule == "rs2" or epoch > math.floor((1 - ANNEALED) * epochs):
            return chosen, factors
        known = losses[rows]
        easy = known < known[~known.isnan()].mean()  # false where a loss is NaN
        generator = torch.Generator().manual_seed(_mixed(seed, epoch))
        # Drawn before anything is left out: to learn more only where too few are left would move the expectation.
        easy[torch.randperm(len(rows), generator=generator)[:FEWEST]] = False
        left_out = easy & (torch.rand(len(rows), generator=generator) < self.share)
        factors[easy] = 1 / (1 - self.share)
        return rows[~left_out], factors[~left_out]


def _fresh_part(rows: torch.Tensor, share: float, epoch: int, seed: int) -> torch.Tensor:
    """The epoch's part of an endless row of shuffled rounds over all rows."""
    count = len(rows)
    size = min(count, max(FEWEST, round(share * count)))
    if size == count:
        return rows
    start, end = (epoch - 1) * size, epoch * size
    first = start // count
    while first * count % size:  # a round that begins with an epoch does not hang on the one before
        first -= 1
    parts, order = [], torch.empty(0, dtype=torch.int64)
    for number in range(first, (end - 1) // count + 1):
        # What an epoch still takes from the round before comes last in this one, or the epoch would learn it twice.
        taken = torch.zeros(count, dtype=torch.bool)
        taken[order[count - number * count % size :]] = True
        fresh = torch.randperm(count, generator=torch.Generator().manual_seed(_mixed(seed, number)))
        order = torch.cat([fresh[~taken[fresh]], fresh[taken[fresh]]])
        parts.append(order[max(start - number * count, 0) : max(end - number * count, 0)])
    return rows[torch.cat(parts).sort().values]


def _mixed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**63
