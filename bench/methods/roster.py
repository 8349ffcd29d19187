"""Which methods there are: every selector in each of its ways, with every optimiser."""

from __future__ import annotations

from dripstone.train.optimizers import OPTIMIZERS

SELECTORS = (
    "head",
    "suffix:1",
    "suffix:2",
    "blocks:0.34",
    "blocks:0.34:random",
    "blocks:0.34:gradient",
    "blocks:0.34:20",
    "vectors",
    "rows:0.01",
    "rows:0.01:random",
    "rows:0.01:random:20",
    "entries:0.01",
    "entries:0.01:20",
    "entries:0.01:gradient",
    "entries:0.01:fisher",
    "low_rank:8",
    "full",
)
"""In the loop; a third of the blocks is one of digits' three, and two of the sentence encoder's six."""

CLOSED = ("head@ridge", "ladder")
"""Without an optimiser of one's own."""


def methods(only: list[str] | None = None) -> list[str]:
    """All of them, or those that begin with one of some words."""
    every = [*CLOSED, *(f"{selector}@{optimizer}" for selector in SELECTORS for optimizer in OPTIMIZERS)]
    return [method for method in every if not only or method.startswith(tuple(only))]
