"""Sequence to sequence on real pairs: docstrings to names of functions, phrases to their normal form.

python -m bench.seq2seq [--streams names,phrases] [--quick]

A model learns the old distribution from nothing; then an update brings the shifted one, by one method after another.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import pairs
from bench.report import header
from dripstone.learner import Learner
from dripstone.models import seq2seq
from dripstone.view.output import table

REPLAY = 0.5
"""Rows remembered, of those of the first stage."""

METHODS: dict[str, dict[str, Any]] = {
    "Dripstone": {},
    "decoder alone": {"select.selection": "suffix:2"},
    "last block": {"select.selection": "suffix:1"},
    "full, no replay": {"select.selection": "full", "curate.policy": "screen", "gate.mode": "off"},
}
"""What the later update is told besides. The last one is a plain loop: nobody remembers, nobody judges."""


@dataclass(frozen=True)
class Plan:
    """Rows of a stage at most, how the model is made, passes over the first stage and the later one."""

    rows: int
    model: dict[str, Any]
    passes: tuple[int, int]


PLANS = {
    "names": Plan(1300, {"vocabulary": 1024, "width": 96, "context": 48, "reply": 16}, (10, 5)),
    "phrases": Plan(1300, {"tokenizer": "bytes", "width": 64, "context": 64, "reply": 16}, (12, 5)),
}
QUICK = Plan(60, {"tokenizer": "bytes", "width": 16, "context": 32, "reply": 48}, (1, 1))
FIRST_RATE, RATE = 3e-3, 1e-3


def begin(folder: Path, stream: pairs.Stream, plan: Plan) -> tuple[Learner, float]:
    """A project that has learned the old distribution, and the CPU-s of that."""
    settings = {
        "task.slice": "domain",
        "train.batch_size": 4,
        "train.learning_rate": FIRST_RATE,
        "train.stop.epochs": plan.passes[0],
        "gate.trusted": 200,
        "gate.holdout": 0.1,
        "gate.minimum": 20,
        "curate.policy": f"screen+replay:{int(REPLAY * len(stream.old))}",
    }
    learner = Learner.create(folder, model=seq2seq(depth=2, **plan.model), task="seq2seq", settings=settings)
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes(32))
    began = time.process_time()
    update = learner.update(stream.old, gate="off")
    assert update.promoted, update.reason
    return learner, time.process_time() - began


def live(begun: Learner, method: str, stream: pairs.Stream, plan: Plan) -> list[str]:
    """One method's update with the shifted distribution, as a row of the table."""
    folder = begun.project.with_name("lived")
    shutil.copytree(begun.project, folder)
    try:
        chosen = {"train.learning_rate": RATE, "train.stop.epochs": plan.passes[1], **METHODS[method]}
        learner = Learner.open(folder, chosen)
        began = time.process_time()
        update = learner.update(stream.new)
        seconds = time.process_time() - began
        name = f"{method}: {update.selection}, {update.verdict}"
        return [name, *measure(learner, stream), f"{seconds:.1f}", f"{update.delta_bytes:,}"]
    finally:
        shutil.rmtree(folder)


def measure(learner: Learner, stream: pairs.Stream) -> list[str]:
    """Exact match and perplexity on rows of the old distribution and of the new one, which nobody has learned."""
    cells = []
    for rows in (stream.old_test, stream.new_test):
        metrics = learner.evaluate(rows)["metrics"]
        perplexity = metrics["perplexity"]
        cells += [f"{metrics['exact_match']:.3f}", f"{perplexity:.2f}" if math.isfinite(perplexity) else "-"]
    return cells


def main() -> None:
    """Run the streams and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default=",".join(PLANS))
    parser.add_argument("--quick", action="store_true", help="a few rows and one pass, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.seq2seq"))
    for name in options.streams.split(","):
        plan = QUICK if options.quick else PLANS[name]
        stream = {"names": pairs.names, "phrases": pairs.phrases}[name](plan.rows)
        print(f"{name}: {len(stream.old):,} old rows, then {len(stream.new):,} new ones\n")
        with tempfile.TemporaryDirectory() as folder:
            learner, seconds = begin(Path(folder) / "begun", stream, plan)
            kept = sum(path.stat().st_size for path in learner.repository.path.rglob("*") if path.is_file())
            rows = [["before", *measure(learner, stream), f"{seconds:.1f}", f"{kept:,}"]]
            rows += [live(learner, method, stream, plan) for method in METHODS]
        columns = ["old: exact", "perplexity", "new: exact", "perplexity", "CPU-s", "bytes"]
        print(table(["after the update", *columns], rows) + "\n")


if __name__ == "__main__":
    main()
