"""The model that every stage works with: preprocessing, a backbone that yields features, a head that yields scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dripstone.core.devices import device_of
from dripstone.core.errors import ModelError
from dripstone.core.examples import Content
from dripstone.core.protocols import Preprocess
from dripstone.core.records import Spec
from dripstone.models.head import Head

Batch = dict[str, torch.Tensor] | torch.Tensor

PORTION = 256
"""Rows whose scores are computed at a time: thousands of random features of more would leave the processor's cache."""


class Classifier(nn.Module):
    """A classifier in three parts, and what rebuilds it.

    It starts in evaluation mode, which is what serving and features need; whoever trains it says ``train()``.

    Parameters
    ----------
    preprocess : torch.nn.Module
        Turns rows into a batch; has ``fit(inputs)``, ``collate(inputs)`` and ``default_column``.
    backbone : torch.nn.Module
        Turns a batch into features, [rows, features].
    head : Head
        Turns features into scores, [rows, classes].
    spec : Spec
        The factory and arguments that rebuild this module without its weights.
    assets : mapping of str to bytes
        Files, by name, that the factory reads.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=3, random_features=16)
    >>> rows = [np.array([0.0, 1.0, 2.0], dtype="f4"), np.array([2.0, 1.0, 0.0], dtype="f4")]
    >>> model.fit(rows)
    >>> model.head.fit(model.features(model.collate(rows)))
    >>> model.head.grow(2)
    >>> model(model.collate(rows)).shape
    torch.Size([2, 2])
    """

    preprocess: Preprocess
    growing = frozenset({"head.weight", "head.bias"})

    def __init__(
        self, preprocess: nn.Module, backbone: nn.Module, head: Head, spec: Spec, assets: Mapping[str, bytes]
    ) -> None:
        super().__init__()
        self.add_module("preprocess", preprocess)
        self.backbone = backbone
        self.head = head
        self.spec = spec
        self.assets = dict(assets)
        self.eval()

    def fit(self, inputs: Sequence[Any]) -> None:
        """Learn the preprocessing (scaling) from the first stage's rows; later calls do nothing."""
        self.preprocess.fit(inputs)

    def collate(self, inputs: Sequence[Any]) -> Batch:
        """Preprocess rows into what ``backbone`` takes, on the model's device.

        Raises
        ------
        DataError
            If there is no row, or one is of the wrong kind or shape, or not finite.
        ModelError
            If a preprocess of the user's makes something else of them.
        """
        batch, device = self.preprocess.collate(inputs), device_of(self.head)
        if isinstance(batch, torch.Tensor):
            return batch.to(device)
        if not isinstance(batch, dict) or not all(isinstance(values, torch.Tensor) for values in batch.values()):
            raise ModelError(
                "the model's preprocess makes something else than a tensor, or a dict of tensors, of the rows",
                remedy="let its collate return torch tensors with the rows in their first dimension",
                kind="model.batch",
            )
        return {name: values.to(device) for name, values in batch.items()}

    def features(self, batch: Batch) -> torch.Tensor:
        """[rows, features]."""
        return self.backbone(batch)

    def forward(self, batch: Batch) -> torch.Tensor:
        """[rows, classes] logits."""
        return self.head(self.features(batch))

    def grow(self, labels: int) -> None:
        """Room in the output layer for so many labels."""
        self.head.grow(labels)

    @property
    def reads(self) -> int:
        """How many numbers ``read`` makes of a row."""
        return self.head.features

    def read(self, contents: Sequence[Content]) -> torch.Tensor:
        """What is kept of rows: their features, [rows, features]."""
        return self.features(self.collate(contents))

    def outputs(self, read: torch.Tensor) -> torch.Tensor:
        """[rows, classes] logits of rows of which that was kept, on the CPU."""
        if len(read) == 0:
            return torch.empty(0, len(self.head.bias))
        device = device_of(self.head)
        return torch.cat([self.head(portion.to(device)).cpu() for portion in read.split(PORTION)])
