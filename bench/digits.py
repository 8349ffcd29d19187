"""Digits as a class-incremental stream, seeds 0 to 4: accuracy at the end beside joint training on the same rows.

python -m bench.digits [--seeds 5] [--key 0]

Which rows are held out depends on a key, which is random in a store and fixed here; another one is another draw.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.report import header
from dripstone.learner import Learner
from dripstone.view.demo.digits import digits_stream
from dripstone.view.demo.story import Ruler, check_revert, compare_jointly, learn_poison, learn_stage
from dripstone.view.output import Output, table


def run(seed: int, key: int, folder: Path) -> dict[str, Any]:
    """One stream: five honest stages, the shuffled one, a revert and back."""
    stream = digits_stream(seed)
    quiet = Output("quiet")
    learner = Learner.create(folder / str(seed), model=stream.model(), input="input", target="label")
    # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed + 16 * key] * 32))
    ruler = Ruler(stream)
    stages = [learn_stage(learner, ruler, stage, quiet) for stage in stream.stages]
    poison = learn_poison(learner, ruler, stream, quiet)
    revert = check_revert(learner, ruler, stream, quiet)
    joint = compare_jointly(learner, stream, stages[-1]["accuracy"])
    return {"seed": seed, "stages": stages, "poison": poison, "revert": revert, "joint": joint}


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--key", type=int, default=0, choices=range(16))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.digits"))
    with tempfile.TemporaryDirectory() as folder:
        results = [run(seed, options.key, Path(folder)) for seed in range(options.seeds)]
    rows = [_cells(result) for result in results]
    print(table(["seed", "promoted", "streamed", "joint ridge", "joint net", "shuffled", "revert", "CPU-s"], rows))
    streamed, ridge, net = (
        float(np.mean([r["joint"][key] for r in results])) for key in ("streamed", "closed_form", "network")
    )
    print(f"mean: streamed {streamed:.4f}, joint closed form {ridge:.4f}, joint network {net:.4f}")


def _cells(result: dict[str, Any]) -> list[str]:
    joint = result["joint"]
    return [
        str(result["seed"]),
        f"{sum(stage['verdict'] == 'promoted' for stage in result['stages'])} of {len(result['stages'])}",
        f"{joint['streamed']:.4f}",
        f"{joint['closed_form']:.4f}",
        f"{joint['network']:.4f}",
        result["poison"]["verdict"],
        "same bits" if result["revert"]["same_bits"] else "DIFFERENT",
        f"{sum(stage['cpu_seconds'] for stage in result['stages']):.2f}",
    ]


if __name__ == "__main__":
    main()
