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
    "entries:0.01:fisher",
    "entries:0.01:random",
    "entries:0.01:random:20",
    "low_rank:8",
    "full",
)
"""In the loop; a third of the blocks is one of digits' three, and two of the sentence encoder's six."""

CLOSED = ("head@ridge", "ladder")
"""Without an optimiser of one's own."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Learning rates that the search tries; of SGD ten times these."""


def methods(only: list[str] | None = None) -> list[str]:
    """All of them, or those that begin with one of some words."""
    every = [*CLOSED, *(f"{selector}@{optimizer}" for selector in SELECTORS for optimizer in OPTIMIZERS)]
    return [method for method in every if not only or method.startswith(tuple(only))]


def rates_of(method: str) -> list[float]:
    """What the search tries for a method; one without a loop has nothing to try."""
    if method in CLOSED:
        return [1e-3]
    return [10 * rate if method.endswith("@sgd") else rate for rate in RATES]
