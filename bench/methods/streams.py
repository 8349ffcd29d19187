"""The two streams: digits that meet new classes, other pictures and more of the same; intents that meet new ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from bench.clinc import packaged_encoder
from dripstone.models import mlp, text_classifier

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stream:
    """What is learned, stage by stage, and what of it is asked.

    ``first`` rows make the version that every method starts from, by ``first_settings``; ``stages`` follow.
    ``validation`` and ``test`` are rows by group; ``learned`` says after which stage a group has been learned.
    """

    model: Callable[[], Any]
    first: list[Row]
    first_settings: dict[str, Any]
    stages: list[list[Row]]
    validation: dict[str, list[Row]]
    test: dict[str, list[Row]]
    learned: dict[str, int]
    settings: dict[str, Any]


def digits(seed: int) -> Stream:
    """Five classes; five more; pictures in which light and dark are exchanged; then more of the first kind."""
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    names = ("test", "validation", "one", "two", "three")
    parts = dict(zip(names, np.split(order, [360, 600, 1100, 1450]), strict=True))

    def rows(part: str, classes: range, *, dark: bool = False) -> list[Row]:
        chosen = [place for place in parts[part] if labels[place] in classes]
        return [{"inputs": 16 - pictures[i] if dark else pictures[i], "label": int(labels[i])} for i in chosen]

    def groups(part: str) -> dict[str, list[Row]]:
        every = range(10)
        return {"0-4": rows(part, range(5)), "5-9": rows(part, range(5, 10)), "dark": rows(part, every, dark=True)}

    return Stream(
        model=lambda: mlp(inputs=64, hidden=[256, 256, 256], random_features=256),
        first=rows("one", range(5)),
        first_settings={"select.selection": "full@adamw", "train.stop.epochs": 20},
        stages=[rows("one", range(5, 10)), rows("two", range(10), dark=True), rows("three", range(10))],
        validation=groups("validation"),
        test=groups("test"),
        learned={"0-4": 0, "5-9": 1, "dark": 2},
        settings={"curate.policy": "screen+replay:100", "train.stop.epochs": 5},
    )


def intents(data: Path, seed: int) -> Stream:
    """CLINC150: 75 intents; then 25 more; then three more rows of each of the hundred."""
    splits = json.loads((data / "data_full.json").read_text())
    domains = json.loads((data / "domains.json").read_text())
    draw = np.random.default_rng(seed)
    labels = [label for group in domains.values() for label in group]
    labels = [labels[i] for i in draw.permutation(len(labels))[:100]]

    def rows(split: str, chosen: list[str], start: int, stop: int) -> list[Row]:
        by_label: dict[str, list[str]] = {label: [] for label in chosen}
        for text, label in splits[split]:
            if label in by_label:
                by_label[label].append(text)
        found = [{"inputs": text, "label": label} for label, texts in by_label.items() for text in texts[start:stop]]
        return [found[i] for i in draw.permutation(len(found))]

    old, new = labels[:75], labels[75:]
    return Stream(
        model=lambda: text_classifier(packaged_encoder()),
        first=rows("train", old, 0, 50),
        first_settings={"select.selection": "ladder"},
        stages=[rows("train", new, 0, 12), rows("train", labels, 50, 53)],
        validation={"75": rows("val", old, 0, 5), "25": rows("val", new, 0, 15)},
        test={"75": rows("test", old, 0, 6), "25": rows("test", new, 0, 18)},
        learned={"75": 0, "25": 1},
        settings={"curate.policy": "screen+replay:200", "train.stop.epochs": 3},
    )
