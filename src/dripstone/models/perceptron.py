"""Vectors: a multilayer perceptron, or with no hidden layer random features of the scaled inputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from dripstone.core.seeding import seeded
from dripstone.models.classifier import Classifier
from dripstone.models.factory import ModelSpec
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.preprocess import Vector


def mlp(
    inputs: int, hidden: Sequence[int] = (), random_features: int = 1024, dropout: float = 0.0, seed: int = 0
) -> Classifier:
    """A classifier of vectors.

    Parameters
    ----------
    inputs : int
        Values a row.
    hidden : sequence of int
        Widths of the hidden layers; with none the features are the scaled inputs.
    random_features : int
        Size of the head's random expansion.
    dropout : float
        Share of activations dropped after each hidden layer while training.
    seed : int
        Of the initial weights and the random expansion.

    Examples
    --------
    >>> mlp(inputs=64, hidden=[32]).backbone
    Sequential(
      (0): Sequential(
        (0): Linear(in_features=64, out_features=32, bias=True)
        (1): ReLU()
      )
    )
    """
    widths = [inputs, *hidden]
    with seeded(seed):
        blocks = [_block(before, after, dropout) for before, after in pairwise(widths)]
    arguments = {"inputs": inputs, "hidden": list(hidden), "random_features": random_features}
    return Classifier(
        preprocess=Vector(inputs),
        backbone=nn.Sequential(*blocks) if blocks else nn.Identity(),
        head=Head(RandomFourierFeatures(widths[-1], random_features, seed)),
        spec=ModelSpec("dripstone.models:mlp", {**arguments, "dropout": dropout, "seed": seed}),
        assets={},
    )


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout)) if dropout else nn.Sequential(*layers)
