"""Tuning the last blocks: they learn to draw the rows of a class together, for a closed form to be solved on."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import msgspec
import torch
from torch import nn

from dripstone.core.config import TrainConfig
from dripstone.core.devices import device_of
from dripstone.core.events import Event
from dripstone.core.fork import fork
from dripstone.core.protocols import Model
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.loop import run_loop
from dripstone.train.prototypes import Prototypes
from dripstone.train.rows import Rows

SLOWER = 0.2
"""Share of the learning rate at which blocks begin to move: they know something already, the head does not."""

EPOCHS = 3
"""Over which blocks are tuned, at a rate that falls to 0 in a line."""


def tune(
    model: Model,
    names: Sequence[str],
    rows: Rows,
    features: torch.Tensor,
    classes: int,
    config: TrainConfig,
    cache: ActivationCache,
) -> Generator[Event, None, Model]:
    """Train a fork over blocks, under a head of prototypes that is thrown away afterwards; yields progress.

    Parameters
    ----------
    model : Model
        It is only read.
    names : sequence of str
        Parameters of the blocks.
    rows : Rows
        What is learned; its targets are below ``classes``.
    features : torch.Tensor
        [rows, features] float32, the model's, from which the prototypes start.
    classes : int
        Of the prototypes.
    config : TrainConfig
        Optimiser, learning rate, batch size and step; schedule and epochs are those of this module.
    cache : ActivationCache
        Of what lies below the blocks.

    Returns
    -------
    Model
        The fork; its head is of no use.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=4, hidden=[8, 8], random_features=16)
    >>> rows = Rows([np.ones(4, "f4"), np.zeros(4, "f4")], torch.tensor([0, 1]), torch.ones(2))
    >>> names = ["backbone.1.0.weight", "backbone.1.0.bias"]
    >>> for event in tune(model, names, rows, torch.eye(2, 8), 2, TrainConfig(), ActivationCache(model, names)):
    ...     print(str(event)[:20])
    tuning: epoch 1 of 3
    tuning: epoch 2 of 3
    tuning: epoch 3 of 3
    """
    module: nn.Module = model  # type: ignore[assignment]
    tuned = fork(module, names)
    tuned.head = Prototypes(features, rows.targets, classes).to(device_of(model.head))
    cache.attach(tuned)  # type: ignore[arg-type]
    moving = [*names, "head.weight", "head.bias"]
    yield from run_loop(tuned, moving, rows, _config(config), "tuning", cache=cache)
    return tuned  # type: ignore[return-value]


def _config(train: TrainConfig) -> TrainConfig:
    return msgspec.structs.replace(
        train,
        learning_rate=SLOWER * train.learning_rate,
        step=msgspec.structs.replace(train.step, schedule="linear"),
        stop=msgspec.structs.replace(train.stop, epochs=EPOCHS),
    )
