"""Rows, heads and ridge regression by another route, for the tests of the closed form."""

from __future__ import annotations

import numpy as np
import torch

from dripstone.models.head import Head, Identity, RandomFourierFeatures
from dripstone.train.statistics import Statistics, add_rows, expand, no_rows

PENALTY = 0.05
CLASSES = 4

# A head of so many columns, at 40 rows: sums from early on, sums in the end, rows to the last.
SIZES = [6, 60, 200]

Rows = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def plain_head(classes: int, size: int = 6) -> Head:
    return Head(Identity(size), classes)


def random_head(features: torch.Tensor, random_features: int, classes: int = CLASSES) -> Head:
    head = Head(RandomFourierFeatures(features.shape[1], random_features, seed=0), classes)
    head.fit(features)
    return head


def problem(rows: int, size: int = 6, seed: int = 0) -> Rows:
    """Features, targets in rising order, so that classes appear one by one, and weights from 0 to 3."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(rows) * CLASSES // rows
    centres = torch.randn(CLASSES, size, generator=generator)
    features = centres[targets] + 0.7 * torch.randn(rows, size, generator=generator)
    weights = torch.randint(0, 4, (rows,), generator=generator).double()
    return features, targets, weights


def collect(rows: Rows, head: Head, portions=None) -> Statistics:
    """Statistics of the rows, added portion by portion, under a head that knows the classes so far."""
    features, targets, weights = rows
    statistics, classes = no_rows(), 0
    for portion in portions or [list(range(len(targets)))]:
        classes = max([classes, *(int(target) + 1 for target in targets[portion])])
        grown = Head(head.expansion, classes)
        statistics = add_rows(statistics, grown, features[portion], targets[portion], weights[portion])
    return statistics


def at_once(rows: Rows, head: Head) -> np.ndarray:
    """Ridge regression over all rows, [D+1, classes]."""
    features, targets, weights = rows
    phi, share = expand(head, features).numpy(), weights.double().numpy()[:, None]
    one_hot = np.eye(len(head.bias))[targets.numpy()]
    return np.linalg.solve(phi.T @ (share * phi) + PENALTY * np.eye(phi.shape[1]), phi.T @ (share * one_hot))


def difference(found: torch.Tensor, expected: np.ndarray) -> float:
    """Of two solutions, relative."""
    return float(np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected))
