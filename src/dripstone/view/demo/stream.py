"""What a demo runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dripstone.models.classifier import Classifier

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """One batch of a stream: its name, its rows, and the labels that are known once it is learned."""

    name: str
    rows: Sequence[Row]
    labels: frozenset[str | int]


@dataclass(frozen=True, slots=True)
class Stream:
    """A class-incremental stream: stages with new labels each, a poisoned batch, and rows to measure on.

    Rows are mappings with the columns ``input`` and ``label``.
    """

    name: str
    model: Callable[[], Classifier]
    stages: Sequence[Stage]
    poison: Sequence[Row]
    test: Sequence[Row]
