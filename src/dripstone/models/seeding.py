"""Initial weights from a seed, without moving torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw CPU random numbers from ``seed`` inside the block, and go on outside as if nothing had been drawn.

    Examples
    --------
    >>> with seeded(0):
    ...     first = torch.rand(3)
    >>> with seeded(0):
    ...     bool(torch.equal(first, torch.rand(3)))
    True
    """
    # Only the CPU generator: torch.manual_seed would move those of the accelerators as well.
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(state)
