"""CLINC150 or BANKING77 as a stream: ten new classes a stage, and which of their rows nobody may train on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dripstone.core.examples import is_held_out

CLASSES = 10
"""New classes a stage."""

HOLDOUT = 0.2
"""Share of rows that Dripstone holds out, and that its peers do without."""

VALIDATES = 10
"""One training row in so many, where a data set has no validation rows of its own."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Scale:
    """How large things are.

    ``rows`` and ``measured`` are training rows and test or validation rows a class, None for all; ``memory`` are
    remembered rows, ``random_features`` those of Dripstone's head.
    """

    rows: int | None = None
    measured: int | None = None
    memory: int = 2000
    random_features: int = 4096


FULL = Scale()
QUICK = Scale(rows=8, measured=3, memory=100, random_features=256)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Texts and their classes, [rows] int64, as places in ``Stream.labels``."""

    texts: list[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, chosen: np.ndarray) -> Rows:
        """Some of them; ``chosen`` is [rows] bool."""
        return Rows([self.texts[place] for place in np.flatnonzero(chosen)], self.targets[chosen])

    def first(self, count: int) -> Rows:
        """The first ones."""
        return Rows(self.texts[:count], self.targets[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What arrives together: all its rows, and those of them that may be trained on."""

    sent: Rows
    learned: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The stages in order. Classes are numbered as they arrive, so stage s brings 10 s to 10 s + 9.

    ``key`` is that of the held-out hash; ``val`` and ``test`` rows are of classes of the stages alone.
    """

    labels: tuple[str, ...]
    stages: list[Stage]
    val: Rows
    test: Rows
    key: bytes
    scale: Scale

    def known(self, stage: int) -> int:
        """How many classes are known once a stage, counted from 0, is learned."""
        return min((stage + 1) * CLASSES, len(self.labels))

    def everything(self) -> Stage:
        """All stages at once."""
        return Stage(
            concatenate([stage.sent for stage in self.stages]), concatenate([stage.learned for stage in self.stages])
        )


def concatenate(parts: Sequence[Rows]) -> Rows:
    """One after another."""
    return Rows([text for part in parts for text in part.texts], np.concatenate([part.targets for part in parts]))


def read_stream(data: Path, stages: int, scale: Scale, seed: int) -> Stream:
    """The first stages of the data set in a folder, the rows of a stage shuffled once for everybody.

    CLINC150 is known by its ``data_full.json``, its classes come in the order of ``domains.json``; BANKING77 by
    ``train.csv``, with the order of ``categories.json``, and every tenth of its training rows validates.
    """
    if (data / "data_full.json").exists():
        splits = json.loads((data / "data_full.json").read_text())
        domains = json.loads((data / "domains.json").read_text())
        order = [label for labels in domains.values() for label in labels]
        return make_stream(order, splits["train"], splits["val"], splits["test"], stages, scale, seed)
    order = json.loads((data / "categories.json").read_text())
    train, test = _pairs(data / "train.csv"), _pairs(data / "test.csv")
    learned = [pair for place, pair in enumerate(train) if place % VALIDATES]
    return make_stream(order, learned, train[::VALIDATES], test, stages, scale, seed)


def _pairs(path: Path) -> list[Pair]:
    with path.open(newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def make_stream(
    order: Sequence[str],
    train: Iterable[Pair],
    val: Iterable[Pair],
    test: Iterable[Pair],
    stages: int,
    scale: Scale,
    seed: int,
) -> Stream:
    """A stream from pairs of text and label.

    Parameters
    ----------
    order : sequence of str
        All labels, in the order in which they arrive.
    train, val, test : iterable of pairs
        Rows to learn, to choose learning rates on, to measure on.
    stages : int
        How many stages; labels that they do not reach are left out, and so are their rows.
    scale : Scale
        How many rows.
    seed : int
        Of the order of rows and of the key of the held-out hash.
    """
    labels = tuple(order[: stages * CLASSES])
    key = bytes([seed % 256] * 32)
    every = _rows(train, labels, scale.rows)
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(every))
    mixed = Rows([every.texts[place] for place in shuffled], every.targets[shuffled])
    parts = [mixed.where(mixed.targets // CLASSES == number) for number in range(-(-len(labels) // CLASSES))]
    return Stream(
        labels,
        [Stage(part, part.where(~_held_out(part, key))) for part in parts],
        _rows(val, labels, scale.measured),
        _rows(test, labels, scale.measured),
        key,
        scale,
    )


def _held_out(rows: Rows, key: bytes) -> np.ndarray:
    return np.array([is_held_out(key, text, HOLDOUT) for text in rows.texts], dtype=bool)


def _rows(pairs: Iterable[Pair], labels: Sequence[str], most: int | None) -> Rows:
    """The first ``most`` rows of each label."""
    places = {label: place for place, label in enumerate(labels)}
    counts = dict.fromkeys(labels, 0)
    texts, targets = [], []
    for text, label in pairs:
        if label in places and (most is None or counts[label] < most):
            counts[label] += 1
            texts.append(text)
            targets.append(places[label])
    return Rows(texts, np.array(targets, dtype=np.int64))
