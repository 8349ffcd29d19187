"""What a learner's run leaves, and the file that collects the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.refresh.scores import Scores


class Settings(msgspec.Struct, frozen=True):
    """What results must have in common to stand in one table."""

    stages: int
    quick: bool
    seed: int
    encoder: str


class StageResult(msgspec.Struct, frozen=True):
    """One stage: rows that arrived and rows that were trained on, CPU seconds of the learner and of one forward pass.

    ``bytes`` is what the version adds to the disk, ``accuracy`` that on the test rows of the classes known by then.
    """

    sent: int
    learned: int
    cpu_seconds: float
    forward_seconds: float
    bytes: int
    accuracy: float
    note: str = ""


class Point(msgspec.Struct, frozen=True):
    """Accuracy on all test rows after so many CPU seconds of training."""

    cpu_seconds: float
    accuracy: float


class Result(msgspec.Struct, frozen=True):
    """One learner. ``problem`` says why there is nothing else: a package that is not there, or what went wrong.

    ``stages`` and ``scores`` are of learners that learn stage by stage. ``points`` are of those that get all rows at
    once, with ``val``, the accuracy on the validation rows at the end, for those that are chosen by it, and
    ``forward_seconds``, one forward pass over all rows. ``peak_bytes`` is the resident set at its highest.
    """

    name: str
    problem: str = ""
    failed: bool = False
    stages: list[StageResult] = []
    scores: Scores | None = None
    points: list[Point] = []
    val: float | None = None
    forward_seconds: float = 0.0
    bytes: int = 0
    peak_bytes: int = 0

    @property
    def cpu_seconds(self) -> float:
        """Of all training."""
        return self.points[-1].cpu_seconds if self.points else sum(stage.cpu_seconds for stage in self.stages)

    @property
    def accuracy(self) -> float | None:
        """At the end, on all classes."""
        if self.scores:
            return self.scores.accuracy
        return self.points[-1].accuracy if self.points else None


class Overhead(msgspec.Struct, frozen=True):
    """CPU seconds of the same steps: through the loop of the library, and bare."""

    loop_seconds: float
    bare_seconds: float
    steps: int

    @property
    def share(self) -> float:
        """Of the loop's time, what is not the model's forward, backward and step."""
        return 1 - self.bare_seconds / self.loop_seconds


class Report(msgspec.Struct):
    """All that is known by now."""

    settings: Settings
    results: dict[str, Result] = {}
    overhead: Overhead | None = None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        draft = path.with_name(path.name + ".draft")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        draft.replace(path)


def open_report(path: Path | None, settings: Settings) -> Report:
    """What earlier runs left in the file, or an empty report.

    Raises
    ------
    SystemExit
        If they ran with other settings, so that one table cannot hold both.
    """
    if path is None or not path.exists():
        return Report(settings)
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    if report.settings != settings:
        raise SystemExit(f"{path} holds results of {report.settings}, this run has {settings}: name another file")
    return report


def in_order(report: Report, names: Sequence[str]) -> list[Result]:
    """The results in the order of the names, others after them."""
    known = [report.results[name] for name in names if name in report.results]
    return known + [result for name, result in report.results.items() if name not in names]
