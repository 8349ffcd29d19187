"""Fifteen stages of CLINC150, ten classes each: what learning on is worth and costs, beside joint training and peers.

Or eight of BANKING77 (--stages 8), on which no constant and no learning rate was chosen.

    python -m bench.refresh --data FOLDER [--encoder minilm] [--stages 15] [--quick] [--seed 0]
        [--only A,B] [--processes 1] [--json FILE] [--png FILE]

Every learner gets the same rows in the same order, trains on exactly those that Dripstone does not hold out, on one
thread, in a process of its own, and is measured on the test rows, which nobody trains on or chooses by. CPU-s are those
of learning alone. --json keeps the results of learners that do not run this time, so that parts can be run one after
another; --quick is a smoke run.

Some peers need packages, which are imported where they are used; a learner without its own is listed as not installed:

    pip install --no-deps peft accelerate psutil badam
    pip install avalanche-lib torchvision matplotlib

Learners: LEARNERS.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.refresh import tables
from bench.refresh.children import run_all
from bench.refresh.data import CLASSES
from bench.refresh.goals import goals
from bench.refresh.plot import draw
from bench.refresh.results import Overhead, Report, Settings, open_report
from bench.refresh.roster import NAMES, QUICK_NAMES, Task
from bench.report import header

QUICK_STAGES = 2


def main() -> None:
    """Run the learners, and print what all of them did."""
    options = _parse()
    torch.set_num_threads(1)
    print(header("bench.refresh"), flush=True)
    stages = min(options.stages, QUICK_STAGES) if options.quick else options.stages
    report = open_report(options.json, Settings(stages, options.quick, options.seed, options.encoder))
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    names = options.only or (QUICK_NAMES if options.quick else NAMES)
    tasks = [Task(name, options.data, encoder, stages, options.quick, options.seed) for name in names]
    failed = False
    for found in run_all(tasks, options.processes):
        if isinstance(found, Overhead):
            report.overhead = found
            print(f"loop overhead: {found.share:.1%} of {found.loop_seconds:.1f} CPU-s", flush=True)
        else:
            report.results[found.name] = found
            failed |= found.failed
            print(tables.log(found), flush=True)
        if options.json:
            report.save(options.json)
    _print(report)
    if options.png:
        draw(report, options.png)
    raise SystemExit(1 if failed else 0)


def _print(report: Report) -> None:
    print(f"\n{tables.stages_table(report)}\n{tables.LEGEND}\n")
    if points := tables.points_table(report):
        print(f"{points}\n{tables.POINTS_LEGEND}\n")
    if lines := tables.problems(report):
        print(f"{lines}\n")
    print(tables.goals_text(goals(report)))


def _parse() -> argparse.Namespace:
    text = (__doc__ or "").replace("LEARNERS", ", ".join(NAMES))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--stages", type=_stages, default=15, help=f"of {CLASSES} classes, up to 15")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=_names, default=[])
    parser.add_argument("--processes", type=int, default=1, help="learners at a time")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    return parser.parse_args()


def _stages(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 15:
        raise argparse.ArgumentTypeError("2 to 15 stages")
    return int(text)


def _names(text: str) -> Sequence[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of: {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    main()
