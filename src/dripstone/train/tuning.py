"""Tuning the last blocks: they learn to draw the rows of a class together, for a closed form to be solved on."""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import torch
from torch import nn

from dripstone.core.config import TrainConfig
from dripstone.core.devices import device_of
from dripstone.core.events import Event
from dripstone.core.fork import fork
from dripstone.core.low_rank import Factors
from dripstone.core.parts import HEAD, Chosen
from dripstone.core.protocols import Model
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.loop import run_loop
from dripstone.train.low_rank import adapted
from dripstone.train.prototypes import Prototypes
from dripstone.train.rows import Rows

SLOWER = 0.2
"""Share of the learning rate at which blocks begin to move: they know something already, the head does not, nor do
products that begin as 0."""

EPOCHS = 3
"""Over which blocks are tuned, at a rate that falls to 0 in a line."""


def with_prototypes(model: Model, rows: Rows, features: torch.Tensor, classes: int) -> nn.Module:
    """The model with a head of prototypes, which share nothing with it and are thrown away after tuning.

    Parameters
    ----------
    model : Model
        It is only read.
    rows : Rows
        What is to be learned; its targets are below ``classes``.
    features : torch.Tensor
        [rows, features] float32, the model's, from which the prototypes start.
    classes : int
        Of the prototypes.
    """
    module: nn.Module = model  # type: ignore[assignment]
    twin = fork(module, [])
    twin.head = Prototypes(features, rows.targets, classes).to(device_of(model.head))
    return twin


def tune(
    model: nn.Module,
    chosen: Chosen,
    rows: Rows,
    config: TrainConfig,
    cache: ActivationCache | None = None,
    *,
    rank: int | None = None,
) -> Generator[Event, None, tuple[Model, dict[str, Factors]]]:
    """Train a fork over part of a backbone, under its head of prototypes; yields progress.

    Parameters
    ----------
    model : torch.nn.Module
        Of `with_prototypes`; it is only read.
    chosen : Chosen
        Of the backbone.
    rows : Rows
        What is learned.
    config : TrainConfig
        Optimiser, learning rate, batch size and step; schedule and epochs are those of this module.
    cache : ActivationCache, optional
        Of what lies below all that is chosen.
    rank : int, optional
        Add products of this rank to the chosen weights, in place of moving them.

    Returns
    -------
    tuple of Model and dict of str to Factors
        The fork, whose head is of no use, and the products, where there are any.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> rows = Rows([np.ones(4, "f4"), np.zeros(4, "f4")], torch.tensor([0, 1]), torch.ones(2))
    >>> model = with_prototypes(mlp(inputs=4, hidden=[8, 8], random_features=16), rows, torch.eye(2, 8), 2)
    >>> for event in tune(model, Chosen(["backbone.1.0.weight", "backbone.1.0.bias"]), rows, TrainConfig()):
    ...     print(str(event)[:20])
    tuning: epoch 1 of 3
    tuning: epoch 2 of 3
    tuning: epoch 3 of 3
    """
    tuned = fork(model, [*chosen.names, *HEAD])
    settings = _config(config, rank)
    factors: dict[str, Factors] = {}
    if rank is not None:
        with adapted(tuned, chosen.names, rank, config.seed) as products:
            yield from run_loop(tuned, [*products.names, *HEAD], rows, settings, "tuning")
        factors = products.factors
    else:
        if cache is not None:
            cache.attach(tuned)  # type: ignore[arg-type]
        moving = [*chosen.names, *HEAD]
        yield from run_loop(tuned, moving, rows, settings, "tuning", cache=cache, parts=chosen.parts)
    return tuned, factors  # type: ignore[return-value]


def _config(train: TrainConfig, rank: int | None) -> TrainConfig:
    return msgspec.structs.replace(
        train,
        learning_rate=train.learning_rate * (SLOWER if rank is None else 1.0),
        step=msgspec.structs.replace(train.step, schedule="linear"),
        stop=msgspec.structs.replace(train.stop, epochs=EPOCHS),
    )
