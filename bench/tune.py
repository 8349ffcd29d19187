"""What a search for settings is worth to the next update, on handwritten digits: its settings beside the present ones.

    python -m bench.tune [--seeds 10] [--trials 20] [--scenarios loop,astray,start,few]

``loop``: a perceptron of two hidden layers that learns by the loop (``full@adamw``, the defaults of everything else),
has learned 400 digits, and is sent 400 more. ``astray``: the same, at fifty times the learning rate. ``start``: as
``loop``, but it has learned nothing, so that the activation is searched as well, and is sent 400. ``few``: a project
with the defaults of everything (random features, a head in closed form), which has learned nothing, and is sent 100.
The rows that are sent are searched on, then learned once under the present settings and once under those that the
search has written, from the same version, without a gate. Both are
measured on 600 other digits that neither the update nor the search has seen. CPU-s are those of the search and of the
two updates; ``lead`` is that of what was written, in standard errors, on rows that it was not chosen by.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from bench.report import header
from dripstone.core.tuned import Tuned
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.view.commands.tune import settings_words
from dripstone.view.output import table

TEST = 600
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A project, how many digits it has learned, and how many are sent to it."""

    model: Callable[[int], nn.Module]
    settings: Mapping[str, Any]
    learned: int
    sent: int


def network(seed: int) -> nn.Module:
    """A perceptron of two hidden layers."""
    return mlp(inputs=64, hidden=[64, 64], random_features=256, seed=seed)


LOOP = {"select.selection": "full@adamw"}
SCENARIOS = {
    "loop": Scenario(network, LOOP, learned=400, sent=400),
    "astray": Scenario(network, {**LOOP, "train.learning_rate": 0.05}, learned=400, sent=400),
    "start": Scenario(network, LOOP, learned=0, sent=400),
    "few": Scenario(lambda seed: mlp(inputs=64, seed=seed), {}, learned=0, sent=100),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Accuracy on test rows under the present settings and under the searched ones; the search; CPU-s of each."""

    before: float
    after: float
    tuned: Tuned
    searched: float
    updates: tuple[float, float]


def run(scenario: Scenario, seed: int, trials: int, folder: Path) -> Found:
    """One project: searched, and updated from the same version in two copies of it."""
    rows, test = digits(seed)
    learner = Learner.create(folder / "present", model=scenario.model(seed), settings=scenario.settings)
    # A fixed key in place of the random one, so that the same rows are held out in every run of the bench.
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed] * 32))
    if scenario.learned:
        learner.update(rows[: scenario.learned], gate="off")
    sent = rows[scenario.learned : scenario.learned + scenario.sent]
    shutil.copytree(folder / "present", folder / "searched")
    other = Learner.open(folder / "searched")
    began = time.process_time()
    tuned = other.tune(sent, trials=trials)
    searched = time.process_time() - began
    accuracies, spent = [], []
    for one in (learner, Learner.open(folder / "searched")):
        spent.append(one.update(sent, gate="off").cost.cpu_seconds)
        accuracies.append(one.evaluate(test)["metrics"]["accuracy"])
    return Found(accuracies[0], accuracies[1], tuned, searched, (spent[0], spent[1]))


def digits(seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn and rows to test on, drawn anew for each seed."""
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = [{"inputs": pictures[place], "label": int(labels[place])} for place in order]
    return rows[:-TEST], rows[-TEST:]


def main() -> None:
    """Run all scenarios and seeds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.tune"))
    names = options.scenarios.split(",")
    cells, found = [], {}
    for name in names:
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                one = run(SCENARIOS[name], seed, options.trials, Path(folder))
            cells.append(_cells(name, seed, one))
            found.setdefault(name, []).append(one)
    print(table(["scenario", "seed", "present", "searched", "points", "lead", "CPU-s", "written"], cells))
    for name in names:
        print(_sum(name, found[name]))


def _cells(name: str, seed: int, one: Found) -> list[str]:
    return [
        name,
        str(seed),
        f"{one.before:.4f}",
        f"{one.after:.4f}",
        f"{100 * (one.after - one.before):+.2f}",
        _lead(one.tuned),
        f"{one.searched:.1f} + {one.updates[0]:.2f}, {one.updates[1]:.2f}",
        settings_words(one.tuned.written) or "nothing",
    ]


def _lead(tuned: Tuned) -> str:
    again = tuned.trials[tuned.chosen].again
    return f"{again.lead / again.error:+.1f}" if again and again.error else "-"


def _sum(name: str, found: list[Found]) -> str:
    gains = [100 * (one.after - one.before) for one in found]
    kept = sum(gain >= 0 for gain in gains)
    goal = "met" if kept == len(gains) else "MISSED"
    return (
        f"{name}: at least as good in {kept} of {len(gains)} seeds: {goal}; "
        f"{np.mean(gains):+.2f} points in the mean, {min(gains):+.2f} at worst"
    )


if __name__ == "__main__":
    main()
