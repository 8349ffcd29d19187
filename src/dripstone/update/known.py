"""Known rows: what the live version has learned or is judged by, recognised by 16 bytes a row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dripstone.core.examples import Example, content_id
from dripstone.store.ledger import Array, PageRow, short_hash


def known_rows(rows: Iterable[PageRow | Example]) -> np.ndarray:
    """Hashes of id and content, [rows, 2] int64, sorted by the first."""
    pairs = {_short_hash(row.id): content_hash(row) for row in rows}
    return np.array(sorted(pairs.items()), dtype=np.int64).reshape(-1, 2)


def content_hash(row: PageRow | Example) -> int:
    """What makes a row that is sent again the same row: its label, inputs and weight."""
    inputs = row.inputs.numpy() if isinstance(row.inputs, Array) else row.inputs
    return _short_hash(f"{row.target!r}\0{content_id(inputs)}\0{row.weight!r}")


def merge_known(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Both together, each sorted by the ids' hashes; where an id is in both, the new content counts."""
    places = np.searchsorted(old[:, 0], new[:, 0])
    inside = places < len(old)
    again = places[inside][old[places[inside], 0] == new[inside, 0]]
    kept = np.delete(old, again, axis=0) if len(again) else old
    return np.insert(kept, np.searchsorted(kept[:, 0], new[:, 0]), new, axis=0)


def _short_hash(text: str) -> int:
    return int.from_bytes(short_hash(text), "big", signed=True)


def learned_content(known: np.ndarray, row_id: str) -> int | None:
    """The content hash that the row was learned with, None if it was not."""
    wanted = _short_hash(row_id)
    place = int(np.searchsorted(known[:, 0], wanted))
    return int(known[place, 1]) if place < len(known) and known[place, 0] == wanted else None


def is_known(known: np.ndarray, row: PageRow | Example) -> bool:
    """Whether the row was learned just as it is."""
    return learned_content(known, row.id) == content_hash(row)
