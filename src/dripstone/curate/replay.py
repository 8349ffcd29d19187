"""Bounded replay: a uniform sample of everything trained on, whatever the length of the stream.

It is uniform as long as the capacity is. A lower capacity keeps a uniform part; where there is room again (a higher
capacity, rows taken out), the next rows fill it, and for a while weigh more than old ones.

References
----------
Vitter, "Random sampling with a reservoir", ACM TOMS 1985, algorithm R.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def remember(memory: Sequence[T], seen: int, rows: Sequence[T], capacity: int, seed: int) -> tuple[list[T], int]:
    """Offer rows to the reservoir.

    Parameters
    ----------
    memory : sequence
        What is remembered of the ``seen`` rows so far.
    seen : int
        How many rows were ever offered.
    rows : sequence
        New rows, in order.
    capacity : int
        The most rows remembered; 0 for none.
    seed : int
        Together with ``seen`` it fixes the draw, so that the same history always gives the same memory.

    Returns
    -------
    tuple of list and int
        The new memory and the new ``seen``.

    Examples
    --------
    >>> memory, seen = remember([], 0, list(range(100)), capacity=5, seed=0)
    >>> len(memory), seen
    (5, 100)
    """
    kept = list(memory)
    draw = np.random.default_rng((seed, seen))
    if len(kept) > capacity:
        kept = [kept[index] for index in sorted(draw.choice(len(kept), capacity, replace=False))]
    for position, row in enumerate(rows, start=seen):
        if len(kept) < capacity:
            kept.append(row)
        else:
            slot = int(draw.integers(0, position + 1))
            if slot < capacity:
                kept[slot] = row
    return kept, seen + len(rows)
