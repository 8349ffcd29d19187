"""What the bench prints."""

from __future__ import annotations

from collections.abc import Sequence

from bench.refresh.goals import Goal, reached
from bench.refresh.results import Report, Result, in_order
from bench.refresh.roster import NAMES, REACH
from dripstone.view.output import table

LEGEND = """accuracy: on the test rows of all classes at the end; average: over stages, on the classes known then;
forgetting: best accuracy of a class so far less its last, mean over classes; flips: test rows of known classes that a
stage turned from right to wrong, mean over stages, all in percent. passes: the CPU-s in forward passes over the rows
that arrived, measured in the same process. MB: peak resident set. bytes: what a version after the first adds to the
disk, mean; of peers, what they would have to save."""


POINTS_LEGEND = """Peers are measured on the way. An update of Dripstone has no model half-way, so its points are
updates of their own, with one epoch, with two, and so on until the accuracy is reached."""


def stages_table(report: Report) -> str:
    """A row a learner that learns stage by stage, and the joint ones below for comparison."""
    header = ["learner", "accuracy", "average", "forgetting", "flips", "CPU-s", "stage 2", "last"]
    header += ["passes", "stage 2", "last", "MB", "bytes"]
    rows = [row for result in in_order(report, NAMES) for row in _row(result)]
    return table(header, rows)


def _row(result: Result) -> list[list[str]]:
    if result.problem:
        return []
    memory = f"{result.peak_bytes / 1e6:.0f}"
    if not result.stages or result.scores is None:
        passes = f"{result.cpu_seconds / result.forward_seconds:.1f}"
        accuracy = f"{100 * (result.accuracy or 0):.2f}"
        start = [result.name, accuracy, "", "", "", f"{result.cpu_seconds:.1f}", "", ""]
        return [[*start, passes, "", "", memory, f"{result.bytes:,}"]]
    scores, stages = result.scores, result.stages
    shares = (scores.accuracy, scores.average, scores.forgetting, scores.flips)
    second = stages[min(1, len(stages) - 1)]
    spent = [result.cpu_seconds, second.cpu_seconds, stages[-1].cpu_seconds]
    forward = [sum(stage.forward_seconds for stage in stages), second.forward_seconds, stages[-1].forward_seconds]
    later = stages[1:] or stages
    return [
        [
            result.name,
            *(f"{100 * share:.2f}" for share in shares),
            *(f"{seconds:.1f}" for seconds in spent),
            *(f"{seconds / floor:.2f}" for seconds, floor in zip(spent, forward, strict=True)),
            memory,
            f"{sum(stage.bytes for stage in later) // len(later):,}",
        ]
    ]


def points_table(report: Report) -> str:
    """A row a learner of all rows at once: CPU seconds and accuracy along the way."""
    header = ["all at once", "validation", f"CPU-s to {REACH}", "CPU-s: accuracy"]
    rows = []
    for result in in_order(report, NAMES):
        if result.points:
            when = reached([result])
            path = ", ".join(f"{point.cpu_seconds:.0f}: {100 * point.accuracy:.2f}" for point in result.points)
            validation = "" if result.val is None else f"{100 * result.val:.2f}"
            rows.append([result.name, validation, "not reached" if when is None else f"{when:.0f}", path])
    return table(header, rows) if rows else ""


def problems(report: Report) -> str:
    """A line a learner that did not run."""
    return "\n".join(f"{result.name}: {result.problem}" for result in in_order(report, NAMES) if result.problem)


def log(result: Result) -> str:
    """A line on the learner and one for each of its stages."""
    if result.problem:
        return f"{result.name}: {result.problem}"
    lines = [f"{result.name}: {100 * (result.accuracy or 0):.2f} at the end, {result.cpu_seconds:.1f} CPU-s"]
    lines += [
        f"  stage {number}: {100 * stage.accuracy:.2f} on known classes, {stage.cpu_seconds:.1f} CPU-s "
        f"({stage.cpu_seconds / stage.forward_seconds:.2f} passes), {stage.bytes:,} bytes; {stage.note}"
        for number, stage in enumerate(result.stages, start=1)
    ]
    return "\n".join(lines)


def goals_text(found: Sequence[Goal]) -> str:
    """A line a goal."""
    return "\n".join(goal.line() for goal in found)
