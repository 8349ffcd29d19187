"""Drift alarms beside the rows where something is known to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.drift.results import Result


@dataclass(frozen=True, slots=True)
class Alarms:
    """``waits`` are rows from each known change to the alarm that told it, None where none did before the next change.

    ``false`` were raised before anything had changed, ``repeated`` when a change had been told already.
    """

    waits: list[int | None]
    false: int
    repeated: int


def arrivals(result: Result) -> list[int]:
    """The row that has just been predicted when each update runs: the last of its labels arrives then."""
    rows, found = 0, []
    for step in result.steps:
        rows += step.rows
        found.append(rows + (result.task.delay if rows > result.warm_up else 0))
    return found


def rows_of_alarms(result: Result, kind: str) -> list[int]:
    """Rows of the stream at which updates raised an alarm; ``kind`` is ``"inputs"`` or ``"errors"``."""
    return [row for row, step in zip(arrivals(result), result.steps, strict=True) if getattr(step, kind)]


def match(alarms: Sequence[int], changes: Sequence[int], rows: int, delay: int) -> Alarms:
    """Which alarm told which change.

    Parameters
    ----------
    alarms : sequence of int
        Rows at which they were raised, ascending.
    changes : sequence of int
        Rows where something begins, ascending.
    rows, delay : int
        Length of the stream; rows by which labels come late, before which no label can tell of a change.

    Examples
    --------
    >>> match([900, 2100, 2200], [2000, 4000], 6000, 0)
    Alarms(waits=[100, None], false=1, repeated=1)
    """
    waits: list[int | None] = []
    for start, stop in zip(changes, [*changes[1:], rows], strict=True):
        told = [row for row in alarms if start + delay < row <= stop + delay]
        waits.append(told[0] - start if told else None)
    before = changes[0] + delay if changes else rows
    false = sum(row <= before for row in alarms) if changes else 0
    return Alarms(waits, false, len(alarms) - false - sum(wait is not None for wait in waits) if changes else 0)
