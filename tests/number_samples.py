"""Rows whose targets are numbers, with a known law and known noise."""

from __future__ import annotations

import numpy as np

from dripstone.learner import Learner
from dripstone.models import mlp


def law(points):
    """A smooth function of two columns, far from 0."""
    return 50.0 + 4.0 * points[:, 0] - 3.0 * points[:, 1] + 2.0 * np.sin(2 * points[:, 0])


def measured(count, seed, noise=0.5, shift=0.0):
    """Rows of two columns and a noisy measurement of the law."""
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(count, 2)).astype(np.float32)
    values = law(points.astype(np.float64)) + shift + noise * draw.normal(size=count)
    return [{"inputs": point.tolist(), "label": float(value)} for point, value in zip(points, values, strict=True)]


def make_numbers(folder, settings=None, **chosen):
    """A project for numbers, without a row, with a fixed key."""
    chosen = {"model": mlp(2, random_features=128), **chosen}
    learner = Learner.create(folder / "project", task="regression", settings=settings, **chosen)
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes(32))
    return learner
