"""How alike the rows of honest new labels, and of old classes under a new name, are to those of an old class.

    python -m bench.likeness --data FOLDER [--orders 6]

CLINC150's training rows and a frozen sentence encoder. A champion knows the first 10 to 140 classes of an order, by 48
rows each. The next ten classes are honest new labels; ten of its own, by rows that it has not learned, are old ones
under a new name. Of each up to 60 rows are held against 12 held-out rows of the class that the champion takes them
for. No validation row and no test row is looked at.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.gate.new_labels import ALIKE, likeness
from dripstone.models.head import PENALTY
from dripstone.models.text import text_classifier
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of, outputs_of
from dripstone.train.statistics import add_rows, no_rows
from dripstone.view.output import table

KNOWN = (10, 20, 40, 70, 110, 140)
NEW, LEARNED, SENT, TRUSTED = 10, 48, 60, 12
HELD_OUT = 0.2


def main() -> None:
    """Print how the two kinds are spread, and how many of each count as alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.likeness"))
    pairs = json.loads((options.data / "data_full.json").read_text("utf-8"))["train"]
    labels = np.array([label for _, label in pairs])
    features = features_of(text_classifier(encoder=packaged_encoder()), [text for text, _ in pairs])
    found: dict[str, list[float]] = {"honest": [], "renamed": []}
    for order in range(options.orders):
        for kind, alike in live(features, labels, order):
            found[kind].append(alike)
    cells = [row(kind, np.array(values)) for kind, values in found.items()]
    print(table(["label", "labels", "lowest", "5 %", "median", "95 %", "highest", "alike"], cells))


def row(kind: str, values: np.ndarray) -> list[str]:
    """One kind's quantiles, and its share between the bounds."""
    quantiles = [f"{value:.2f}" for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]
    return [kind, str(len(values)), *quantiles, f"{((values >= ALIKE) & (values <= 1 - ALIKE)).mean():.1%}"]


def live(features: torch.Tensor, labels: np.ndarray, order: int) -> Iterator[tuple[str, float]]:
    """The likeness of each new label of one order of the classes, beside champions of several ages."""
    draw = random.Random(order)
    names = sorted(set(labels.tolist()))
    draw.shuffle(names)
    held_out = np.random.default_rng(order).random(len(labels)) < HELD_OUT
    for known in KNOWN:
        scores, learned = champion_scores(features, labels, names[:known], held_out)
        codes = {name: code for code, name in enumerate(names[:known])}
        targets = np.array([codes.get(label, -1) for label in labels.tolist()])
        trusted = held_out & (targets >= 0) & (scores.argmax(axis=1) == targets)
        for name in names[known : known + NEW]:
            yield from _alike("honest", scores, np.flatnonzero(labels == name), targets, trusted)
        for name in draw.sample(names[:known], NEW):
            yield from _alike(
                "renamed", scores, np.flatnonzero((labels == name) & ~learned & ~held_out), targets, trusted
            )


def champion_scores(
    features: torch.Tensor, labels: np.ndarray, names: list[str], held_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all rows, [rows, classes], by a head over the first rows of each class; and which rows it learned."""
    learned = np.zeros(len(labels), dtype=bool)
    for name in names:
        learned[np.flatnonzero((labels == name) & ~held_out)[:LEARNED]] = True
    model = text_classifier(encoder=packaged_encoder())
    places = torch.from_numpy(np.flatnonzero(learned))
    codes = {name: code for code, name in enumerate(names)}
    rows = features[places], torch.tensor([codes[label] for label in labels[learned].tolist()]), torch.ones(len(places))
    model.head.fit(rows[0])
    model.head.grow(len(names))
    fit_head(model.head, add_rows(no_rows(), model.head, *rows), PENALTY, *rows)
    return outputs_of(model, features).numpy(), learned


def _alike(
    kind: str, scores: np.ndarray, rows: np.ndarray, targets: np.ndarray, trusted: np.ndarray
) -> Iterator[tuple[str, float]]:
    rows = rows[:SENT]
    old = np.bincount(scores[rows].argmax(axis=1)).argmax()
    theirs = np.flatnonzero(trusted & (targets == old))[:TRUSTED]
    alike = likeness(scores[theirs, old], scores[rows, old])
    if alike is not None:
        yield kind, alike


if __name__ == "__main__":
    main()
