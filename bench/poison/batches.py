"""What a life is made of: rows, batches, and the sendings that they arrive in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]
"""Columns ``id``, ``input``, ``label`` and ``weight``."""

Key = tuple[str, str]
"""What makes a poisoned row recognisable wherever it turns up: its id and the label it was sent with."""

Honest = Literal["", "adds", "refreshes"]
Damage = Literal["", "flip", "delete"]


def make_row(name: str, text: str, label: str, weight: float = 1.0) -> Row:
    return {"id": name, "input": text, "label": label, "weight": weight}


def key_of(row: Row) -> Key:
    return row["id"], row["label"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one update.

    ``poison`` are the rows that are wrong. ``settings`` are the update's own, ``damage`` is what befalls the stored
    candidate before it is judged.
    """

    rows: list[Row]
    poison: frozenset[Key] = frozenset()
    settings: dict[str, Any] = field(default_factory=dict)
    damage: Damage = ""


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing that the stream brings: a batch, or several small ones in a row. ``kind`` names an attack."""

    kind: str
    batches: list[Batch]
    honest: Honest = ""
