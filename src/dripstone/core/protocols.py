"""What the stages need of one another, so that none has to import another; ``update`` composes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from dripstone.core.examples import Inputs
from dripstone.core.records import Spec


class Head(Protocol):
    """The growing output layer: ``scores = scale * linear(expand(features))``."""

    expansion: Any  # a module; its buffer "width", if it has one, is the unit of the features
    features: int  # columns that come in
    weight: nn.Parameter  # [classes, expanded] float32
    bias: nn.Parameter  # [classes] float32
    scale: torch.Tensor  # [] float32, turns scores into logits
    penalty: torch.Tensor  # [] float32, of the closed form

    def expand(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, expanded]."""
        ...

    def fit(self, features: torch.Tensor) -> None:
        """Take what the expansion learns from the first stage's [rows, features]; later calls do nothing."""
        ...

    def refit(self, features: torch.Tensor) -> None:
        """The same for features of another backbone, whatever was learned before."""
        ...

    def grow(self, classes: int) -> None:
        """Append zero rows until there are ``classes``; the old rows keep their bits."""
        ...


class Preprocess(Protocol):
    """What belongs to a model and turns rows into batches."""

    kind: str  # "text" or "array"
    accepted: Sequence[tuple[int, ...]]  # shapes that an array may have; none: all rows have that of the first
    default_column: str  # the column that inputs stand in unless the user names another
    picture: tuple[int, ...] | None  # (channels, height, width) of a row; None where it is no picture
    mask_token: str | None  # what stands for a hidden word in a text; None where there is nothing

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Learn from the first stage's rows; later calls do nothing."""
        ...

    def collate(self, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Rows to a batch."""
        ...


class Prune(Protocol):
    """Which rows an epoch learns."""

    def choose(
        self, rows: torch.Tensor, losses: torch.Tensor, epoch: int, epochs: int, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of [rows] indices, by the latest losses of all rows, those that are learned, and the factor of each."""
        ...


Change = Callable[[Sequence[Inputs], np.random.Generator], list[Inputs]]
"""Augmentation: what the loop sees of a batch's rows this time."""


class Model(Protocol):
    """A module in three parts: preprocessing, a backbone that yields features, a head that yields scores."""

    spec: Spec
    assets: dict[str, bytes]
    preprocess: Any  # a Preprocess that is also a module
    backbone: nn.Module
    head: Any  # a Head that is also a module

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Learn the preprocessing (scaling) from the first stage's rows; later calls do nothing."""
        ...

    def collate(self, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Preprocess rows into what ``backbone`` takes."""
        ...

    def features(self, batch: dict[str, torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """[rows, features]."""
        ...

    def forward(self, batch: dict[str, torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """[rows, classes] logits."""
        ...
