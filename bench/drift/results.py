"""What a run leaves, and the file that collects runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np


class Task(msgspec.Struct, frozen=True):
    """What is run: a learner on a stream, whose labels come ``delay`` rows late."""

    stream: str
    delay: int
    learner: str
    seed: int = 0
    quick: bool = False


class Step(msgspec.Struct, frozen=True):
    """One update of Dripstone: rows that came, and what its report says.

    ``inputs`` and ``errors`` are drift alarms, ``tried`` the selections that were trained, ``pending`` and
    ``quarantined`` the rows that wait after it.
    """

    rows: int
    verdict: str
    reason: str
    selection: str = ""
    tried: list[str] = []
    inputs: bool = False
    errors: bool = False
    rejected: dict[str, int] = {}
    trained: int = 0
    pending: int = 0
    quarantined: int = 0
    cpu_seconds: float = 0.0


class Result(msgspec.Struct, frozen=True):
    """One run.

    ``bits`` are the right answers to the scored rows, packed; ``warm_up`` rows were not scored, ``changes`` are the
    rows where something is known to begin. ``cpu_seconds`` are those of predicting and learning, with
    ``encoding_seconds`` for learners that were given features.
    """

    task: Task
    rows: int
    warm_up: int
    bits: bytes
    cpu_seconds: float
    encoding_seconds: float = 0.0
    peak_bytes: int = 0
    changes: list[int] = []
    steps: list[Step] = []

    @property
    def right(self) -> np.ndarray:
        """[scored rows] bool."""
        scored = self.rows - self.warm_up
        return np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=scored).astype(bool)

    @property
    def accuracy(self) -> float:
        """Prequential: over all scored rows."""
        return float(self.right.mean())

    @property
    def late_accuracy(self) -> float:
        """Over the last fifth of the stream."""
        return float(self.right[-(self.rows // 5) :].mean())


def pack(right: np.ndarray) -> bytes:
    """[rows] bool, eight to a byte.

    Examples
    --------
    >>> pack(np.ones(9, bool))
    b'\\xff\\x80'
    """
    return np.packbits(right).tobytes()


def read_results(path: Path | None) -> list[Result]:
    """What earlier runs left in the file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result]) if path and path.exists() else []


def write_results(path: Path, results: list[Result]) -> None:
    """Write the file whole or not at all."""
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    draft.replace(path)
