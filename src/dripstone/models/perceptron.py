"""Vectors: a multilayer perceptron, or with no hidden layer random features of the scaled inputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from dripstone.core.seeding import seeded
from dripstone.models.activations import RELU, activation_arguments, activation_of
from dripstone.models.classifier import Classifier
from dripstone.models.factory import ModelSpec
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.preprocess import Vector


def mlp(
    inputs: int,
    hidden: Sequence[int] = (),
    random_features: int = 1024,
    dropout: float = 0.0,
    seed: int = 0,
    activation: str = RELU,
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
    activation : str
        After each hidden layer: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.

    Raises
    ------
    ModelError
        If there is no such activation.

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
    activation_of(activation)  # also where there is no hidden layer: a name that means nothing is a mistake
    with seeded(seed):
        blocks = [_block(before, after, dropout, activation) for before, after in pairwise(widths)]
    arguments: dict[str, Any] = {"inputs": inputs, "hidden": list(hidden), "random_features": random_features}
    arguments |= {"dropout": dropout, "seed": seed, **activation_arguments(activation)}
    return Classifier(
        preprocess=Vector(inputs),
        backbone=nn.Sequential(*blocks) if blocks else nn.Identity(),
        head=Head(RandomFourierFeatures(widths[-1], random_features, seed)),
        spec=ModelSpec("dripstone.models:mlp", arguments),
        assets={},
    )


def _block(inputs: int, outputs: int, dropout: float, activation: str) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs), activation_of(activation)]
    return nn.Sequential(*layers, nn.Dropout(dropout)) if dropout else nn.Sequential(*layers)
