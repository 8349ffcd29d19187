"""Small learners and streams that the tests of the update share."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.store.ledger import Book
from dripstone.train.features import features_of
from dripstone.update.lineage import learned_pages


def blobs(count: int, seed: int, labels: str = "ab", spread: float = 0.3) -> list[dict]:
    """``count`` rows of each label; a label has its own place on a circle."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        for label in labels:
            angle = 2 * math.pi * (ord(label) - ord("a")) / 6
            point = 2 * np.array([math.cos(angle), math.sin(angle)]) + draw.normal(0, spread, 2)
            rows.append({"inputs": point.tolist(), "label": label})
    return rows


def relabelled(rows: list[dict], labels: str = "ab") -> list[dict]:
    """Every label moved to the next one: poison."""
    return [{**row, "label": labels[(labels.index(row["label"]) + 1) % len(labels)]} for row in rows]


def make(folder: Path, settings: dict | None = None, **given) -> Learner:
    """A project with an untrained first version, unless ``data`` is given."""
    model = given.pop("model", None) or mlp(inputs=2, random_features=64)
    learner = Learner.create(folder / "project", model=model, settings=settings, **given)
    if "data" not in given:
        # The same rows are held out in every run, so that every run counts the same rows.
        (learner.repository.path / "training" / "holdout.key").write_bytes(b"k" * 32)
    return learner


def trained(folder: Path, settings: dict | None = None, rows: int = 150) -> Learner:
    """A learner that has learned two blobs."""
    learner = make(folder, settings)
    assert learner.update(blobs(rows, seed=0)).verdict == "promoted"
    return learner


def book_of(learner: Learner) -> Book:
    head = learner.repository.log.head()
    return learner.repository.read_book(head.book) if head.book else Book()


def quarantined(learner: Learner) -> list[tuple[str, int]]:
    """Places of the quarantined rows."""
    return [(group.page, index) for group in book_of(learner).quarantined for index in group.indices]


def live_rows(learner: Learner, role: str) -> list:
    """Rows of the live version's line that have this role."""
    pages = learned_pages(learner.repository, learner.repository.log.head().version)
    return [row for page in pages for row in page if row.role == role]


def scores(learner: Learner, version: str | None = None, seed: int = 99) -> torch.Tensor:
    """Logits on a fixed sample."""
    model = learner.champion(version).model
    inputs = [np.array(row["inputs"], dtype=np.float32) for row in blobs(20, seed, "abc")]
    with torch.no_grad():
        return model.head(features_of(model, inputs))


def folder_hash(folder: Path) -> str:
    """Hash of every name and every byte under a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def own_net(classes: int = 2, width: int = 2) -> nn.Module:
    """A factory as a user writes it."""
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, classes))


class Changing(nn.Module):
    """A user's module whose shapes can change after its weights were stored."""

    hidden = 8

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, self.hidden), nn.Tanh(), nn.Linear(self.hidden, 2))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch)
