"""What the bench prints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from bench.drift.alarms import match, rows_of_alarms
from bench.drift.results import Result
from bench.drift.roster import NAMES
from dripstone.view.output import table

LEGEND = """accuracy: prequential, over all rows but the first 200, in percent; last fifth: over the last fifth of the
stream. CPU-s: of predicting and learning, an encoder's pass over the rows included, at the first delay. MB: peak
resident set, the stream included. learned: rows of promoted updates, less those that are held out; quarantined and
pending: at the end. A row that waits may be left out, and set off an alarm, in every update that it takes part in."""

SHOWN = 12
"""Alarms that are named."""

COMMON = 5
"""Reasons that are named."""


def accuracies(results: Sequence[Result], stream: str) -> str:
    """A row a learner: at each delay the accuracy over the stream and over its last fifth."""
    mine = [one for one in results if one.task.stream == stream]
    delays = sorted({one.task.delay for one in mine})
    header = ["learner", *(f"delay {delay:,}" for delay in delays), *(f"last fifth {delay:,}" for delay in delays)]
    rows = []
    for name in NAMES:
        found = {one.task.delay: one for one in mine if one.task.learner == name}
        if found:
            first = found[min(found)]
            rows.append(
                [
                    name,
                    *(_percent(found[delay].accuracy) if delay in found else "" for delay in delays),
                    *(_percent(found[delay].late_accuracy) if delay in found else "" for delay in delays),
                    f"{first.cpu_seconds:.0f}",
                    f"{first.peak_bytes / 1e6:.0f}",
                ]
            )
    return table([*header, "CPU-s", "MB"], rows)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def updates(results: Sequence[Result], stream: str) -> str:
    """A row a life of Dripstone: verdicts, rows learned, alarms."""
    header = ["learner", "delay", "promoted", "refused", "undecided", "unchanged", "learned", "quarantined", "pending"]
    rows = []
    for one in _lives(results, stream):
        verdicts = Counter(step.verdict for step in one.steps)
        rows.append(
            [
                one.task.learner,
                f"{one.task.delay:,}",
                *(str(verdicts[verdict]) for verdict in header[2:6]),
                f"{sum(step.trained for step in one.steps if step.verdict == 'promoted'):,}",
                f"{one.steps[-1].quarantined:,}",
                f"{one.steps[-1].pending:,}",
                str(len(rows_of_alarms(one, "inputs"))),
                str(len(rows_of_alarms(one, "errors"))),
            ]
        )
    return table([*header, "input alarms", "error alarms"], rows) if rows else ""


def details(results: Sequence[Result], stream: str) -> Iterator[str]:
    """Of each life of Dripstone: at which rows alarms were raised, why rows were left out, and the gate's reasons."""
    for one in _lives(results, stream):
        yield f"{one.task.learner}, delay {one.task.delay:,}"
        for kind in ("inputs", "errors"):
            if alarms := rows_of_alarms(one, kind):
                yield f"  alarms of {kind} at rows {_listed([f'{row:,}' for row in alarms], SHOWN)}"
            if one.changes:
                yield from _told(one, kind, alarms)
        left_out: Counter[str] = Counter()
        for step in one.steps:
            for reason, count in step.rejected.items():
                left_out[without_numbers(reason)] += count
        for reason, count in left_out.most_common(COMMON):
            yield f"  {count:,} times a row was left out: {reason}"
        said = Counter(f"{step.verdict}: {without_numbers(step.reason)}" for step in one.steps)
        for reason, count in said.most_common(COMMON):
            yield f"  {count} updates {reason}"
        moved = Counter(step.selection for step in one.steps if step.verdict == "promoted")
        if set(moved) - {"head@ridge"}:
            yield "  moved: " + ", ".join(f"{name} {count} times" for name, count in moved.most_common())


def _told(one: Result, kind: str, alarms: Sequence[int]) -> Iterator[str]:
    if not any(step.inputs or step.errors for step in one.steps):
        return
    found = match(alarms, one.changes, one.rows, one.task.delay if kind == "errors" else 0)
    pairs = zip(one.changes, found.waits, strict=True)
    waits = ", ".join(f"{start:,}: {'-' if wait is None else wait}" for start, wait in pairs)
    yield f"  rows from a change to the alarm of {kind}: {waits}; false {found.false}, repeated {found.repeated}"


def _lives(results: Sequence[Result], stream: str) -> list[Result]:
    mine = [one for one in results if one.task.stream == stream and one.steps]
    return sorted(mine, key=lambda one: (NAMES.index(one.task.learner), one.task.delay))


def without_numbers(reason: str) -> str:
    """A reason whose numbers are left open, so that those of many updates can be counted.

    Examples
    --------
    >>> without_numbers("of 412 trusted rows, 31 got worse (1.5e+09 against 40)")
    'of # trusted rows, # got worse (# against #)'
    """
    return re.sub(r"[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?", "#", reason)


def _listed(words: Sequence[str], most: int) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def log(result: Result) -> str:
    """A line on a run."""
    task = result.task
    return (
        f"{task.stream}, delay {task.delay:,}, {task.learner}: {_percent(result.accuracy)}, last fifth "
        f"{_percent(result.late_accuracy)}, {result.cpu_seconds:.0f} CPU-s, {result.peak_bytes / 1e6:.0f} MB"
    )
