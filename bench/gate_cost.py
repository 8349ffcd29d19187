"""What the gate costs an update when its trusted rows are at their cap: its share of the CPU time, by rows sent.

    python -m bench.gate_cost --data FOLDER

CLINC150, a frozen sentence encoder, the head in closed form. The first version is trained on 12,000 rows, a share of
which fills the trusted rows; then come refreshes. The floor of a refresh is one forward pass over its rows, measured
after it.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import torch

from bench.clinc import forward_pass, packaged_encoder
from bench.report import header
from dripstone.learner import Learner
from dripstone.models.text import text_classifier
from dripstone.view.demo.stream import Stage
from dripstone.view.output import table

FIRST = 12_000
REFRESHES = (100, 250, 600, 1500)
HELD_OUT = 0.35
"""Share that is held out, so that 12,000 rows fill 4,000 trusted ones."""


def main() -> None:
    """Train, refresh, and print a row a refresh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.gate_cost"))
    pairs = json.loads((options.data / "data_full.json").read_text("utf-8"))["train"]
    rows = [{"input": text, "label": label} for text, label in pairs]
    random.Random(0).shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        model = text_classifier(encoder=packaged_encoder())
        settings = {"gate.holdout": HELD_OUT, "select.selection": "head"}
        learner = Learner.create(Path(folder) / "project", model=model, input="input", settings=settings)
        learner.update(rows[:FIRST])
        cells = []
        start = FIRST
        for count in REFRESHES:
            stage = Stage("", rows[start : start + count], frozenset())
            start += count
            cells.append(refresh(learner, stage))
    print(table(["rows", "trusted", "verdict", "CPU-s", "forward", "gate CPU-s", "gate"], cells))


def refresh(learner: Learner, stage: Stage) -> list[str]:
    """One update, and what the gate took of it."""
    update = learner.update(stage.rows)
    cost = update.cost
    return [
        str(len(stage.rows)),
        str(update.flips.rows - update.evidence.rows),
        update.verdict,
        f"{cost.cpu_seconds:.2f}",
        f"{forward_pass(learner, stage):.2f}",
        f"{cost.gate_cpu_seconds:.2f}",
        f"{cost.gate_cpu_seconds / cost.cpu_seconds:.1%}",
    ]


if __name__ == "__main__":
    main()
