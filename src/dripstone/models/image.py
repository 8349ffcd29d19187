"""Pictures: a small convolutional network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from dripstone.core.errors import ModelError
from dripstone.core.seeding import seeded
from dripstone.models.activations import RELU, activation_arguments, activation_of
from dripstone.models.classifier import Classifier
from dripstone.models.factory import ModelSpec
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.preprocess import Image

_GRID = 4


def image_classifier(
    shape: Sequence[int],
    channels: Sequence[int] = (16, 32),
    random_features: int = 2048,
    seed: int = 0,
    activation: str = RELU,
) -> Classifier:
    """A classifier of small pictures.

    Parameters
    ----------
    shape : sequence of int
        (channels, height, width), or (height, width) for one channel.
    channels : sequence of int
        Channels of each block; every block but those on a map of less than 4 pixels halves the picture.
    random_features : int
        Size of the head's random expansion.
    seed : int
        Of the initial weights and the random expansion.
    activation : str
        In each block: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.

    Raises
    ------
    ModelError
        If there is no such activation, or no channel.

    Examples
    --------
    >>> model = image_classifier((8, 8))
    >>> model.features(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 160])
    """
    preprocess = Image(shape)
    if not channels or min(channels) < 1:
        raise ModelError(f"channels {list(channels)} make no network", remedy="give at least one positive number")
    with seeded(seed):
        backbone = ConvolutionalFeatures(preprocess.shape, channels, activation)
    arguments = {"shape": list(shape), "channels": list(channels), "random_features": random_features, "seed": seed}
    arguments |= activation_arguments(activation)
    return Classifier(
        preprocess=preprocess,
        backbone=backbone,
        head=Head(RandomFourierFeatures(backbone.size, random_features, seed)),
        spec=ModelSpec("dripstone.models:image_classifier", arguments),
        assets={},
    )


class ConvolutionalFeatures(nn.Module):
    """Blocks of convolution, normalisation, activation, pooling; then the mean of each channel and a coarse grid of it.

    Group normalisation, not batch normalisation: it has no running statistics that would move while others train.

    Parameters
    ----------
    shape : sequence of int
        (channels, height, width).
    channels : sequence of int
        Channels of each block.
    activation : str
        By its name.

    Examples
    --------
    >>> ConvolutionalFeatures((3, 28, 28), [8, 16])(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 272])
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int], activation: str = RELU) -> None:
        super().__init__()
        before, height, width = shape
        blocks = []
        for after in channels:
            halve = min(height, width) >= 4
            blocks.append(_block(before, after, halve, activation))
            before, height, width = after, height // (2 if halve else 1), width // (2 if halve else 1)
        cell = (math.ceil(height / _GRID), math.ceil(width / _GRID))
        self.blocks = nn.Sequential(*blocks)
        self.grid = nn.AvgPool2d(cell, ceil_mode=True)
        self.size = before * (1 + math.ceil(height / cell[0]) * math.ceil(width / cell[1]))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """[rows, channels, height, width] -> [rows, size]."""
        maps = self.blocks(batch)
        return torch.cat([maps.mean(dim=(2, 3)), self.grid(maps).flatten(1)], dim=1)


def _block(inputs: int, outputs: int, halve: bool, activation: str) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
        nn.GroupNorm(math.gcd(outputs, 4), outputs),
        activation_of(activation),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if halve else nn.Sequential(*layers)
