"""The loop: minibatches, cross-entropy, AdamW over the selected parameters and nothing else.

The optimiser is new for every update and holds the selected parameters only: a stale gradient, a weight decay or an old
momentum cannot move what was not selected (seen with all ten optimisers of torch that were tried).
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
        A fork that owns the named parameters. It is left in eval mode.
    names : sequence of str
        Parameters that may move. Modules that own none of them run in eval mode, so that frozen normalisation layers
        keep their statistics.
    rows : Rows
        New and replayed rows.
    config : TrainConfig
        Epochs, batch size, learning rate, weight decay, seed.
    selection : str
        For the events.

    Raises
    ------
    DivergedError
        If the loss or a weight is no longer finite.
    """
    chosen = _prepare(model, set(names))
    optimizer = torch.optim.AdamW(chosen, lr=config.learning_rate, weight_decay=config.weight_decay)
    shuffle = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for epoch in range(1, config.epochs + 1):
            total = 0.0
            for index in torch.randperm(len(rows.targets), generator=shuffle).split(config.batch_size):
                loss = _loss(model, rows, index)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(index)
            mean = total / max(len(rows.targets), 1)
            _check(mean, chosen, epoch)
            yield Epoch(selection, epoch, config.epochs, mean)
    _release(model, chosen)


def _prepare(model: nn.Module, names: set[str]) -> list[nn.Parameter]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    chosen = list({id(parameters[name]): parameters[name] for name in sorted(names)}.values())
    ids = {id(parameter) for parameter in chosen}
    for parameter in parameters.values():
        parameter.grad = None
        parameter.requires_grad_(id(parameter) in ids)
    _set_modes(model, ids, inherited=False)
    return chosen


def _set_modes(module: nn.Module, chosen: set[int], *, inherited: bool) -> None:
    """Train mode for what owns a chosen parameter; what has none (dropout) goes with the module around it."""
    parameters = list(module.parameters())
    module.training = any(id(p) in chosen for p in parameters) if parameters else inherited
    for child in module.children():
        _set_modes(child, chosen, inherited=module.training)


def _loss(model: nn.Module, rows: Rows, index: torch.Tensor) -> torch.Tensor:
    wrapped: Model = model  # type: ignore[assignment]
    if rows.features is not None:
        logits = wrapped.head(rows.features[index])
    else:
        logits = model(wrapped.collate([rows.inputs[i] for i in index.tolist()]))
    losses = nn.functional.cross_entropy(logits, rows.targets[index], reduction="none")
    weights = rows.weights[index].to(losses.dtype)
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def _check(mean: float, chosen: Sequence[nn.Parameter], epoch: int) -> None:
    if not math.isfinite(mean) or not all(bool(torch.isfinite(p).all()) for p in chosen):
        raise DivergedError(
            f"training diverged in epoch {epoch}: the loss or a weight is not finite",
            remedy="lower train.learning_rate",
        )


def _release(model: nn.Module, chosen: Sequence[nn.Parameter]) -> None:
    for parameter in chosen:
        parameter.grad = None
    model.eval()
