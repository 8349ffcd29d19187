"""Bounded replay: what is remembered of everything trained on, whatever the length of the stream.

``reservoir`` keeps a uniform sample. It is uniform as long as the capacity is. A lower capacity keeps a uniform part;
where there is room again (a higher capacity, rows taken out), the next rows fill it, and for a while weigh more than
old ones. ``balanced`` keeps as many rows of each label, while its rows last, each a uniform sample of that label's
rows; ``herding`` keeps as many of each, those that together lie where all of the label's rows lie. ``generated`` keeps
nothing: the live version of a language model writes the rows (``update.rehearsal``).

References
----------
Vitter, "Random sampling with a reservoir", ACM TOMS 1985, algorithm R. Chrysakis and Moens, "Online Continual Learning
from Imbalanced Data", ICML 2020 (balanced). Rebuffi et al., "iCaRL", arXiv 1611.07725, algorithm 4 (herding).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replay:
    """The policy ``replay:N``: at most ``capacity`` rows are remembered, chosen by ``law``.

    Examples
    --------
    >>> Replay.parse(["2000"]), str(Replay.parse(["500", "balanced"]))
    (Replay(capacity=2000, law='reservoir'), 'replay:500:balanced')
    """

    FORMS: ClassVar[tuple[str, ...]] = ("replay:N", "replay:N:balanced", "replay:N:herding", "replay:N:generated")

    capacity: int
    law: str = "reservoir"

    @classmethod
    def parse(cls, words: Sequence[str]) -> Replay | None:
        """The policy from the words after its name; None if they mean nothing."""
        if len(words) not in (1, 2) or not re.fullmatch(r"[0-9]{1,9}", words[0]):
            return None
        if list(words[1:]) not in ([], ["balanced"], ["herding"], ["generated"]):
            return None
        return cls(int(words[0]), *words[1:])

    def __str__(self) -> str:
        return f"replay:{self.capacity}" + ("" if self.law == "reservoir" else f":{self.law}")


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


def level(counts: Iterable[int], capacity: int) -> int:
    """The most rows of every label for which there is room: labels that have fewer leave theirs to the others.

    It never rises while labels and their rows only become more; where there is room for all rows, it is the capacity.
    Up to a row a label of the capacity stays empty.

    Examples
    --------
    >>> level([100, 2, 100], 10)
    4
    """
    room, ascending = capacity, sorted(counts)
    for place, count in enumerate(ascending):
        share = room // (len(ascending) - place)
        if count > share:
            return share
        room -= count
    return capacity


def draw_balanced(
    ids: Sequence[str], labels: Sequence[T], counts: Mapping[T, int], capacity: int, key: bytes
) -> list[int]:
    """Which rows a balanced memory keeps, in their order.

    Each row has a number drawn by a keyed hash of its id, for life; the lowest of a label stay. Numbers are independent
    and the level never rises, so what is kept is a uniform sample of all of the label's rows, whatever the stages were;
    nobody without the key can send rows that stay for ever.

    Parameters
    ----------
    ids, labels : sequences
        Of remembered rows and new ones together.
    counts : mapping of label to int
        Rows of each label that were ever offered, these included. What is remembered of a label says nothing of how
        many there were, and a level by that would rise and fall with the order of rows.
    capacity : int
        The most rows kept. Where there are more labels than that, some of them keep one row.
    key : bytes
        The store's.

    Examples
    --------
    >>> draw_balanced(["1", "2", "3", "4"], ["a", "a", "a", "b"], {"a": 3, "b": 1}, 2, b"key")
    [1, 3]
    """
    numbers = [_number(row_id, key) for row_id in ids]
    places: dict[T, list[int]] = {}
    for place in sorted(range(len(ids)), key=numbers.__getitem__):
        places.setdefault(labels[place], []).append(place)
    each = level([max(counts.get(label, 0), len(mine)) for label, mine in places.items()], capacity)
    chosen = [place for mine in places.values() for place in mine[:each]]
    if each == 0:
        chosen = [mine[0] for mine in places.values()][:capacity]  # labels come in the order of their lowest numbers
    return sorted(chosen)


def _number(row_id: str, key: bytes) -> bytes:
    return hmac.new(key, b"replay\0" + row_id.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def herd(features: np.ndarray, mean: np.ndarray, count: int) -> list[int]:
    """Rows whose mean stays as near to ``mean`` as it can while they are chosen one after another.

    The first ones are a herd of their own: a smaller one is a part of it.

    Parameters
    ----------
    features : numpy.ndarray
        [rows, features] of one label.
    mean : numpy.ndarray
        [features] of all rows of the label.
    count : int
        How many.

    Examples
    --------
    >>> herd(np.array([[0.0], [4.0], [2.0], [1.0]]), np.array([1.5]), 2)
    [2, 3]
    """
    chosen: list[int] = []
    offsets = features - mean
    squares = (offsets**2).sum(axis=1)
    total = np.zeros(offsets.shape[1])
    for _ in range(min(count, len(features))):
        # The squared length of (total + offset), but for what all rows have in common: one product a row.
        best = int((squares + 2 * offsets @ total).argmin())
        chosen.append(best)
        squares[best] = np.inf
        total += offsets[best]
    return chosen
