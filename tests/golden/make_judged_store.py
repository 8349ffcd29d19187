"""Makes the project that tests/golden/judged-v1 holds: ``python tests/golden/make_judged_store.py FOLDER``.

It was run once. What it made is kept for ever, so that every later dripstone reads its certificates and comes to the
same judgements; run it again only to make the fixture of a new format, in a new folder.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from dripstone.learner import Learner
from dripstone.models import mlp


def blobs(count: int, seed: int, labels: str) -> list[dict]:
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        for label in labels:
            angle = 2 * math.pi * (ord(label) - ord("a")) / 6
            point = 2 * np.array([math.cos(angle), math.sin(angle)]) + draw.normal(0, 0.5, 2)
            rows.append({"inputs": point.tolist(), "label": label, "slice": "eu" if draw.random() < 0.5 else "us"})
    return rows


def make(folder: Path) -> Learner:
    """Promoted, refused, undecided, reverted, admitted, and promoted by hand."""
    learner = Learner.create(folder, model=mlp(inputs=2, random_features=32), settings={"task.slice": "slice"})
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes(range(32)))
    learner.update(blobs(60, 0, "ab"))
    learner.update(blobs(40, 1, "abc"))
    wrong = [{**row, "label": "abc"[("abc".index(row["label"]) + 1) % 3]} for row in blobs(20, 2, "abc")]
    learner.update(wrong)
    learner.update(blobs(20, 3, "abc"), gate="better")
    learner.update(blobs(40, 4, "abcd"))
    learner.revert()
    last = learner.update(blobs(20, 5, "abc"), gate="better")
    learner.promote(last.version or "", "a person knows better")
    learner.update(blobs(40, 6, "abc"))
    return learner


if __name__ == "__main__":
    make(Path(sys.argv[1]))
