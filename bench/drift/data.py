"""Four real streams that drift, in the order in which they are predicted and learned."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

QUICK_ROWS = 1200
"""Of each stream in a smoke run; they drift as far in them."""

CHARACTERS = 1000
"""Of a mail; an encoder reads 64 tokens of it, which is less."""

SIDE = 28
"""Of a picture of 784 pixels."""

TURN = 180.0
"""Degrees that the last picture of the rotated stream is turned."""

STRETCHES = 5
"""Parts of the permuted stream, each with pixels in an order of its own; the first has them as they are."""

LEVELS = 5
"""Of bicycles hired in an hour."""

FIRST_HOURS = 1000
"""Whose quintiles are the borders of the levels."""

GIVEAWAYS = ("instant", "dteday", "casual", "registered", "cnt")
"""Columns of the bicycles that say the answer, or only count the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rows in order.

    ``inputs`` are texts, or [rows, columns] float32; ``targets`` [rows] int64 are places in ``labels``; ``changes`` are
    the rows with which something new begins, where that is known.
    """

    name: str
    inputs: Sequence[str] | np.ndarray
    targets: np.ndarray
    labels: tuple[str, ...]
    changes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def texts(self) -> bool:
        """Whether the inputs are texts."""
        return not isinstance(self.inputs, np.ndarray)


def mails(rows: Iterable[Mapping[str, Any]], most: int | None = None) -> Stream:
    """Spam and ham in time order, subject and body, cut; mails without a date are left out, since nobody knows when.

    Examples
    --------
    >>> mail = {"label": "spam", "received": "2001-06-25T13:11:28", "subject": "Win", "body": "now"}
    >>> mails([mail, mail | {"received": None}]).inputs
    ['Win now']
    """
    dated = sorted((row for row in rows if row["received"]), key=lambda row: row["received"])[:most]
    texts = [f"{row['subject'] or ''} {row['body'] or ''}"[:CHARACTERS] for row in dated]
    labels = ("ham", "spam")
    return Stream("spam", texts, np.array([labels.index(row["label"]) for row in dated], dtype=np.int64), labels)


def rotated(pictures: np.ndarray, digits: np.ndarray) -> Stream:
    """Pictures that are turned, each a little further than the one before, from 0 to 180 degrees.

    Parameters
    ----------
    pictures, digits : numpy.ndarray
        [rows, 784] float32 and [rows] int64, in the order of the stream.
    """
    from scipy.ndimage import rotate

    angles = np.linspace(0, TURN, len(pictures))
    turned = [
        rotate(picture.reshape(SIDE, SIDE), angle, reshape=False, order=1).ravel()
        for picture, angle in zip(pictures, angles, strict=True)
    ]
    return Stream("rotated", np.stack(turned).astype(np.float32), digits, _numbered(10))


def permuted(pictures: np.ndarray, digits: np.ndarray, seed: int = 0) -> Stream:
    """Pictures whose pixels change places in every fifth of the stream: abruptly, four times.

    Examples
    --------
    >>> permuted(np.zeros((10, 784), np.float32), np.zeros(10, np.int64)).changes
    (2, 4, 6, 8)
    """
    draw = np.random.default_rng(seed)
    borders = [len(pictures) * part // STRETCHES for part in range(STRETCHES + 1)]
    parts = []
    for number, (start, stop) in enumerate(itertools.pairwise(borders)):
        order = draw.permutation(pictures.shape[1]) if number else np.arange(pictures.shape[1])
        parts.append(pictures[start:stop, order])
    return Stream("permuted", np.concatenate(parts), digits, _numbered(10), tuple(borders[1:-1]))


def bicycles(rows: Iterable[Mapping[str, str]], most: int | None = None) -> Stream:
    """Hours in order: which of five levels the hired bicycles reach, by the quintiles of the first 1,000 hours.

    There is no regression yet, so that a level stands for the number. The levels are fixed as the service goes live
    and their shares change as it grows: that is part of the drift.
    """
    hours = list(rows)[:most]
    columns = [name for name in hours[0] if name not in GIVEAWAYS]
    inputs = np.array([[float(hour[name]) for name in columns] for hour in hours], dtype=np.float32)
    hired = np.array([int(hour["cnt"]) for hour in hours])
    borders = np.quantile(hired[:FIRST_HOURS], np.arange(1, LEVELS) / LEVELS)
    return Stream("bike", inputs, np.searchsorted(borders, hired).astype(np.int64), _numbered(LEVELS))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def read_pictures(data: Path, seed: int, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The digits of ``mnist10k`` in a seeded order, [rows, 784] float32 and [rows] int64."""
    pictures = []
    for digit in range(10):
        with gzip.open(data / "mnist10k" / f"{digit}.json.gz", "rt") as file:
            pictures.append(np.array(json.load(file)["data"], dtype=np.float32).reshape(-1, SIDE * SIDE))
    digits = np.repeat(np.arange(10), [len(part) for part in pictures])
    order = np.random.default_rng(seed).permutation(len(digits))[:most]
    return np.concatenate(pictures)[order], digits[order]


def _read_spam(data: Path, seed: int, most: int | None) -> Stream:
    with gzip.open(data / "spam_assassin" / "spam_assassin.jsonl.gz", "rt") as file:
        return mails(map(json.loads, file), most)


def _read_bike(data: Path, seed: int, most: int | None) -> Stream:
    with gzip.open(data / "bike_sharing" / "hour.csv.gz", "rt", newline="") as file:
        return bicycles(csv.DictReader(file), most)


STREAMS: dict[str, Callable[[Path, int, int | None], Stream]] = {
    "spam": _read_spam,
    "rotated": lambda data, seed, most: rotated(*read_pictures(data, seed, most)),
    "permuted": lambda data, seed, most: permuted(*read_pictures(data, seed, most), seed),
    "bike": _read_bike,
}


def read_stream(name: str, data: Path, seed: int, quick: bool) -> Stream:
    """A stream by its name; ``data`` is the folder with the folders of the data sets."""
    return STREAMS[name](data, seed, QUICK_ROWS if quick else None)
