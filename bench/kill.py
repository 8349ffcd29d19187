"""kill -9 at random moments of an update: the store verifies, live is old or new, the next update succeeds.

    python -m bench.kill [--times 200] [--seed 0]

One process (which has imported everything) forks a child for each try; the child opens the project and runs one real
update of the digits stream. Every other child is killed after a random share of the time that this takes. The others
kill themselves at a random one of their disk syncs: the writes are a small part of the time, and the larger part of the
danger. The tries share one project, so that what one crash leaves behind meets the next.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from bench.report import header
from dripstone.learner import Learner
from dripstone.view.demo.digits import digits_stream
from dripstone.view.demo.stream import Row

SYNCS = 24
"""Disk syncs of one update, and a few more, so that some children live to their end."""


def noisy(rows: list[Row], seed: int) -> list[Row]:
    """The same pictures with a little noise: honest new rows."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(rows), 64, generator=draw).numpy()
    return [{"input": row["input"] + pixels, "label": row["label"]} for row, pixels in zip(rows, noise, strict=True)]


def update_in_child(project: Path, rows: list[Row], syncs: int | None = None) -> int:
    """Start an update in a forked child, which kills itself at sync number ``syncs``; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            if syncs is not None:
                die_at_sync(syncs)
            Learner.open(project).update(rows)
        finally:
            os._exit(0)
    return child


def die_at_sync(number: int) -> None:
    """Kill this process at its ``number``-th fsync, before it happens."""
    count = itertools.count(1)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync


def killed_update(project: Path, rows: list[Row], moment: float | int) -> bool:
    """Start an update and kill it after ``moment`` seconds, or at sync ``moment``; whether it died of that."""
    child = update_in_child(project, rows, moment if isinstance(moment, int) else None)
    if isinstance(moment, float):
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def whole_update(project: Path, rows: list[Row]) -> float:
    """Seconds that an update in a child takes when nobody kills it."""
    began = time.perf_counter()
    os.waitpid(update_in_child(project, rows), 0)
    return time.perf_counter() - began


def run(times: int, seed: int, folder: Path) -> Counter[str]:
    """Kill ``times`` updates and count what was found afterwards."""
    torch.set_num_threads(1)  # a forked child cannot use its parent's thread pool
    draw = random.Random(seed)
    stream = digits_stream(seed)
    rows = [dict(row) for stage in stream.stages for row in stage.rows]
    project = folder / "project"
    learner = Learner.create(project, model=stream.model(), input="input")
    learner.update(rows)
    whole = sorted(whole_update(project, noisy(rows[:300], 10_000 + i)) for i in range(5))[2]
    found: Counter[str] = Counter()
    for attempt in range(times):
        before = learner.repository.log.head()
        batch = noisy(draw.sample(rows, 300), attempt)
        moment = draw.randint(1, SYNCS) if attempt % 2 else draw.uniform(0, 1.1 * whole)
        found["killed" if killed_update(project, batch, moment) else "ended first"] += 1
        after = learner.repository.log.head()
        assert after.number - before.number in (0, 1)
        moved = after.number > before.number
        assert moved or after.version == before.version
        found["committed" if moved else "left the old state"] += 1
        problems = list(learner.repository.verify())
        assert not problems, problems
        update = Learner.open(project).update(batch)
        assert update.verdict == ("unchanged" if moved and after.verdict == "promoted" else update.verdict)
        found[f"the same update again: {update.verdict}"] += 1
    return found


def main() -> None:
    """Run and print the counts; an assertion ends it if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(header("bench.kill"))
    with tempfile.TemporaryDirectory() as folder:
        found = run(options.times, options.seed, Path(folder))
    for what, count in sorted(found.items()):
        print(f"{count:5}  {what}")
    print(f"{options.times} kills: every store verified, live was the old or the new version, every next update ran")


if __name__ == "__main__":
    main()
