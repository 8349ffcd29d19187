"""Lives of many updates, and what each of them costs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dripstone.learner import Learner
from dripstone.models import mlp

FEATURES, CLASSES = 64, 12


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU-s of an update, MB that the process holds after it, bytes that it added to the store, its end."""

    cpu_seconds: float
    held: float
    stored: float
    promoted: bool
    pending: int


def live(folder: Path, updates: int, rows: int, first: int) -> list[Cost]:
    """A stream that stands still, with curation, gate and replay as they are by default, after ``first`` rows."""
    learner = Learner.create(folder, model=mlp(FEATURES, random_features=256))
    (learner.repository.path / "training" / "holdout.key").write_bytes(b"k" * 32)  # the same rows in every run
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CLASSES, FEATURES))
    if first:
        learner.update(_batch(draw, centres, first))
    costs = []
    before = _bytes(folder)
    for _ in range(updates):
        batch = _batch(draw, centres, rows)
        began = time.process_time()
        update = learner.update(batch)
        seconds = time.process_time() - began
        after = _bytes(folder)
        costs.append(Cost(seconds, _resident(), float(after - before), update.promoted, update.examples.pending))
        before = after
    return costs


def _batch(draw: np.random.Generator, centres: np.ndarray, rows: int) -> list[dict[str, object]]:
    labels = draw.integers(CLASSES, size=rows)
    points = (centres[labels] + 1.5 * draw.normal(size=(rows, FEATURES))).astype(np.float32)
    return [{"inputs": point, "label": int(label)} for point, label in zip(points, labels, strict=True)]


def _bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())


def _resident() -> float:
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
