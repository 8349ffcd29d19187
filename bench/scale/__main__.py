"""What does not get dearer with age, and what several processes save.

    python -m bench.scale [--updates 1000] [--rows 60] [--window 20] [--first 20000] [--processes 2] [--quick]

A thousand updates of 60 rows on a stream of 64 features and twelve classes, after a first stage of 20,000 rows and from
nothing. Compared are the medians over those of ``--window`` updates from the tenth on and of the last ones that were
promoted, since an update that is not costs two thirds. Memory is what the process holds after an update (resident set);
bytes are those that an update adds to the store's folder.

Then the parts of an update that several processes share, in one and in ``--processes``, wall seconds, the best of three
rounds; one thread each. The efficiency is the time of one over that of all together. It cannot be above what the
machine allows: the time of one alone over that of one beside others that do the same and share nothing. ``--updates 0``
does this part alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.report import header
from bench.scale.lives import Cost, live
from bench.scale.work import PARTS
from dripstone.view.output import table

START = 10
DEARER = 1.1
EFFICIENT = 0.85


def main() -> None:
    """Live the lives, share the work, and print both."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.scale"), flush=True)
    for first in (options.first, 0) if options.updates else ():
        with tempfile.TemporaryDirectory() as folder:
            costs = live(Path(folder) / "project", options.updates, options.rows, first)
        print(f"after {first:,} rows in a first update" if first else "from nothing")
        print(_compared(costs, options.window))
        print(
            f"{sum(cost.cpu_seconds for cost in costs):.0f} CPU-s altogether; {sum(cost.promoted for cost in costs)} "
            f"of {len(costs)} promoted; at most {max(cost.pending for cost in costs):,} rows waited\n"
            f"CPU-s of a promoted one, by tenths of the life: {_by_tenths(costs)}\n",
            flush=True,
        )
    print(_shared(options.processes, quick=options.quick))


def _compared(costs: Sequence[Cost], window: int) -> str:
    windows = costs[START - 1 : START - 1 + window], costs[-window:]
    rows = []
    for name, form, measure, promoted in (
        ("CPU-s", "{:.3f}", "cpu_seconds", True),
        ("CPU-s, promoted or not", "{:.3f}", "cpu_seconds", False),
        ("MB held", "{:.1f}", "held", False),
        ("bytes stored", "{:,.0f}", "stored", True),
    ):
        chosen = ([cost for cost in some if cost.promoted or not promoted] for some in windows)
        one, other = (statistics.median(getattr(cost, measure) for cost in some) for some in chosen)
        met = "met" if other / one <= DEARER else "MISSED"
        rows.append([name, form.format(one), form.format(other), f"{other / one:.2f}", met])
    return table(
        ["of a promoted update", f"about {START + window // 2}", f"about {len(costs)}", "ratio", "at most 1.1"], rows
    )


def _by_tenths(costs: Sequence[Cost]) -> str:
    each = max(1, len(costs) // 10)
    parts = [costs[start : start + each] for start in range(0, len(costs), each)]
    spent = [[cost.cpu_seconds for cost in part if cost.promoted] for part in parts]
    return " ".join(f"{statistics.median(some):.3f}" if some else "-" for some in spent)


def _shared(count: int, *, quick: bool) -> str:
    rows = []
    for part in PARTS:
        alone = _seconds(_start(part, 1, quick=quick))
        together = _seconds(_start(part, count, quick=quick))
        beside = max(map(_seconds, [_start(part, 1, quick=quick) for _ in range(count)]))
        efficiency = alone / (count * together)
        met = "met" if efficiency >= EFFICIENT else "MISSED"
        seconds = [f"{value:.2f}" for value in (alone, together, beside)]
        rows.append([part, *seconds, f"{alone / beside:.2f}", f"{efficiency:.2f}", met])
    names = ["shared part", "s, one process", f"s, {count}", "s, beside another", "possible", "efficiency"]
    return table([*names, "at least 0.85"], rows)


def _start(part: str, processes: int, *, quick: bool) -> subprocess.Popen[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launch, "-m", "bench.scale.work", part, *(["--quick"] if quick else [])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _seconds(started: subprocess.Popen[str]) -> float:
    out, err = started.communicate()
    if started.returncode:
        raise SystemExit(f"{started.args} failed:\n{err}")
    return float(json.loads(out))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--first", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small work for the processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
