"""Features of mails for learners that take numbers, made once, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.drift.data import read_stream
from dripstone.models.text import text_classifier
from dripstone.train.features import features_of


def encode(texts: Sequence[str], encoder: str) -> tuple[np.ndarray, float]:
    """The encoder's features, [rows, size] float32 of length 1, and the CPU seconds of a forward pass over the rows."""
    model = text_classifier(encoder=encoder, random_features=1)
    began = time.process_time()
    features = features_of(model, list(texts)).numpy()
    return features, time.process_time() - began


def write_features(name: str, data: Path, seed: int, quick: bool, encoder: str, path: Path) -> None:
    """Encode a stream of texts and keep its features in an ``.npz`` file."""
    features, seconds = encode(read_stream(name, data, seed, quick).inputs, encoder)  # type: ignore[arg-type]
    np.savez(path, features=features, seconds=seconds)


def read_features(path: Path) -> tuple[np.ndarray, float]:
    """Features and CPU seconds from the file."""
    with np.load(path) as kept:
        return kept["features"], float(kept["seconds"])
