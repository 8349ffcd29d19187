"""A thousand updates: what the last ones cost beside the first ones, in CPU time, memory and bytes.

    python -m bench.scale [--updates 1000] [--rows 60] [--window 20]

A stream of 64 features and twelve classes, with curation, gate and replay as they are by default. Compared are
the median of ``--window`` updates from the tenth on and of the last ones. Memory is what the process holds after an
update (resident set); bytes are those that an update adds to the store's folder. One thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.report import header
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.view.output import table

FEATURES, CLASSES, FIRST = 64, 12, 10
GOAL = 1.1


def main() -> None:
    """Live it, and print the two windows side by side."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.scale"), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        costs = live(Path(folder) / "project", options.updates, options.rows)
    first = costs[FIRST - 1 : FIRST - 1 + options.window]
    last = costs[-options.window :]
    rows = []
    for name, form, place in (("CPU-s", "{:.3f}", 0), ("MB held", "{:.1f}", 1), ("bytes stored", "{:,.0f}", 2)):
        early, late = (float(np.median([cost[place] for cost in window])) for window in (first, last))
        rows.append([name, form.format(early), form.format(late), f"{late / early:.2f}", _met(late / early)])
    middle = FIRST + options.window // 2
    print(table(["of an update", f"about {middle}", f"about {options.updates}", "ratio", f"at most {GOAL}"], rows))
    print(f"\n{sum(cost[0] for cost in costs):.0f} CPU-s altogether; {sum(cost[3] for cost in costs)} promoted")


def live(folder: Path, updates: int, rows: int) -> list[tuple[float, float, float, bool]]:
    """CPU-s, MB held, bytes stored and whether it was promoted, of every update."""
    learner = Learner.create(folder, model=mlp(FEATURES, random_features=256))
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CLASSES, FEATURES))
    if first:
        learner.update(_draw(draw, centres, first))
    costs = []
    before = _bytes(folder)
    for _ in range(updates):
        batch = _draw(draw, centres, rows)
        began = time.process_time()
        update = learner.update(batch)
        seconds = time.process_time() - began
        after = _bytes(folder)
        costs.append((seconds, _resident(), float(after - before), update.promoted))
        before = after
    return costs


def _met(ratio: float) -> str:
    return "met" if ratio <= GOAL else "MISSED"


def _bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file())


def _resident() -> float:
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--window", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
