"""The loop: minibatches, cross-entropy, AdamW over the selected parameters and nothing else.

The optimiser is new for every update and holds the selected parameters only: a stale gradient, a weight decay or an old
momentum cannot move what was not selected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dripstone.core.config import TrainConfig
from dripstone.core.errors import DivergedError
from dripstone.core.events import Epoch
from dripstone.core.examples import Inputs
from dripstone.core.protocols import Model


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What the loop trains on.

    ``inputs`` are raw rows; ``features`` [rows, d], where given, are what the untouched backbone makes of them and
    spare it the forward pass. ``targets`` [rows] int64, ``weights`` [rows] float.
    """

    inputs: Sequence[Inputs]
    targets: torch.Tensor
    weights: torch.Tensor
    features: torch.Tensor | None = None


def run_loop(
    model: nn.Module, names: Sequence[str], rows: Rows, config: TrainConfig, selection: str
) -> Iterator[Epoch]:
    """Train the named parameters of a fork in place; yields after each epoch.

    Parameters
    ----------
    model : torch.nn.Module
        A fork that owns the named parameters. It is left in eval mode, without gradients.
    names : sequence of str
        Parameters that may move. Modules that own none of them run in eval mode, so that frozen normalisation layers
        keep their statistics and nothing is dropped there.
    rows : Rows
        New and replayed rows. A row of weight 0 is as good as absent.
    config : TrainConfig
        Epochs, largest batch size, learning rate, weight decay, seed. Batches are of even size.
    selection : str
        For the events.

    Raises
    ------
    DivergedError
        If the loss or a weight is no longer finite.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> inputs = [np.array([x, 1.0], dtype="f4") for x in (-2.0, -1.0, 1.0, 2.0)]
    >>> rows = Rows(inputs, torch.tensor([0, 0, 1, 1]), torch.ones(4))
    >>> for event in run_loop(model, ["head.weight"], rows, TrainConfig(epochs=2, learning_rate=0.1), "head@adamw"):
    ...     print(event)
    head@adamw: epoch 1 of 2, running loss 0.6931
    head@adamw: epoch 2 of 2, running loss 0...
    """
    counting = torch.nonzero(rows.weights > 0).flatten()
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    chosen = _prepare(model, set(names), alone=min(len(counting), config.batch_size) == 1)
    optimizer = torch.optim.AdamW(chosen, lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(config.seed)
    try:
        for epoch in range(1, config.epochs + 1):
            loss = _run_epoch(model, optimizer, rows, _batches(counting, config.batch_size, generator), generator)
            _check(loss, chosen, epoch)
            yield Epoch(selection, epoch, config.epochs, loss)
    finally:
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
        model.eval()


def _prepare(model: nn.Module, names: set[str], *, alone: bool) -> list[nn.Parameter]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    chosen = list({id(parameters[name]): parameters[name] for name in sorted(names)}.values())
    ids = {id(parameter) for parameter in chosen}
    for parameter in parameters.values():
        parameter.grad = None
        parameter.requires_grad_(id(parameter) in ids)
    _set_modes(model, ids, training=False)
    if alone:
        # One row has no variance to normalise by.
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
    return chosen


def _set_modes(module: nn.Module, chosen: set[int], *, training: bool) -> None:
    """Train mode for what owns a chosen parameter.

    What has no parameters (dropout) goes with the sibling before it, at the beginning with the one after it, and where
    no sibling has any with the module around it: in a row of layers it belongs to the frozen or to the moving part.
    """
    module.training = training
    children = list(module.children())
    owns = [_owns(child, chosen) for child in children]
    mode = next((own for own in owns if own is not None), training)
    for child, own in zip(children, owns, strict=True):
        mode = mode if own is None else own
        _set_modes(child, chosen, training=mode)


def _owns(module: nn.Module, chosen: set[int]) -> bool | None:
    """Whether a chosen parameter is in the module; None if it has no parameters."""
    parameters = list(module.parameters())
    return any(id(parameter) in chosen for parameter in parameters) if parameters else None


def _batches(counting: torch.Tensor, size: int, generator: torch.Generator) -> Sequence[torch.Tensor]:
    """Shuffled indices in batches of even size, so that no single row is left over for the last one."""
    order = counting[torch.randperm(len(counting), generator=generator)]
    return order.tensor_split(math.ceil(len(order) / size)) if len(order) else ()


def _run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    batches: Sequence[torch.Tensor],
    generator: torch.Generator,
) -> float:
    """One pass; returns the weighted mean of the loss. Dropout draws from a generator that nobody else moves."""
    mean_weight = float(rows.weights[rows.weights > 0].double().mean()) if batches else 1.0
    total = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for index in batches:
            loss = _loss(model, rows, index, mean_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(index)
    return total / max(sum(len(index) for index in batches), 1)


def _loss(model: nn.Module, rows: Rows, index: torch.Tensor, mean_weight: float) -> torch.Tensor:
    wrapped: Model = model  # type: ignore[assignment]
    if rows.features is not None:
        logits = wrapped.head(rows.features[index])
    else:
        logits = model(wrapped.collate([rows.inputs[i] for i in index.tolist()]))
    losses = nn.functional.cross_entropy(logits, rows.targets[index], reduction="none")
    # Over the mean of all rows, not of the batch: else a batch of light rows would pull like one of heavy rows.
    weights = (rows.weights[index].double() / mean_weight).to(losses.dtype)
    return (losses * weights).mean()


def _check(mean: float, chosen: Sequence[nn.Parameter], epoch: int) -> None:
    if not math.isfinite(mean) or not all(bool(torch.isfinite(p).all()) for p in chosen):
        raise DivergedError(
            f"training diverged in epoch {epoch}: the loss or a weight is not finite",
            remedy="lower train.learning_rate",
        )
