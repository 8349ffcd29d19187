"""Optimisers by name: torch's own, or a class of the user's, over the selected parameters and nothing else.

Weight decay is decoupled from the gradient, as in AdamW, in all but ``sgd``, ``adam`` and ``adagrad``: those add it to
the gradient (L2), as torch's classes do.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dripstone.core.config import TrainConfig
from dripstone.core.errors import UsageError
from dripstone.core.seeding import drawn_apart

OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "adagrad": "Adagrad",
    "adafactor": "Adafactor",
    "radam": "RAdam",
    "muon": "Muon",
}
"""Names, and the classes of ``torch.optim`` that they stand for."""

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

_ALSO: dict[str, dict[str, Any]] = {
    "nadam": {"decoupled_weight_decay": True},
    "radam": {"decoupled_weight_decay": True},
    # One learning rate serves Muon and the AdamW beside it: arXiv 2502.16982, section 2.2, makes their steps alike.
    "muon": {"adjust_lr_fn": "match_rms_adamw"},
}


def check_optimizer(name: str) -> None:
    """Refuse an optimiser that cannot be had.

    Parameters
    ----------
    name : str
        One of `OPTIMIZERS`, or ``package.module:Class``, which is imported. Text of another form never is.

    Raises
    ------
    UsageError
        ``usage.optimizer`` if the name is not known, the class cannot be imported, is no ``torch.optim.Optimizer``, or
        asks for a closure at each step.

    Examples
    --------
    >>> check_optimizer("torch.optim:ASGD")
    >>> check_optimizer("adam-w")
    Traceback (most recent call last):
    dripstone.core.errors.UsageError: there is no optimizer 'adam-w'; did you mean 'adamw'?
    """
    _find(name)


def make_optimizers(named: Mapping[str, nn.Parameter], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Optimisers that hold these parameters and no other, in the mapping's order.

    Parameters
    ----------
    named : mapping of str to torch.nn.Parameter
        What may move. A parameter with several names is held once.
    config : TrainConfig
        The optimiser's name and the learning rate; weight decay and momentum where the class takes them.

    Returns
    -------
    list of torch.optim.Optimizer
        One. Of ``muon`` up to two: Muon takes matrices, and an AdamW beside it takes everything else. None if there
        are no parameters.

    Raises
    ------
    UsageError
        ``usage.optimizer`` if there is no such optimiser, or it cannot step parameters like these, which is tried on
        copies.

    References
    ----------
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101. Jordan et al., "Muon: An
    optimizer for hidden layers in neural networks", 2024. Liu et al., "Muon is Scalable for LLM Training",
    arXiv 2502.16982.

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> optimizers = make_optimizers(dict(layer.named_parameters()), TrainConfig(optimizer="muon"))
    >>> [type(optimizer).__name__ for optimizer in optimizers]
    ['Muon', 'AdamW']
    """
    parameters = list({id(parameter): parameter for parameter in named.values()}.values())
    parts = [(config.optimizer, parameters)]
    if config.optimizer == "muon":
        parts = [("muon", [p for p in parameters if p.ndim == 2]), ("adamw", [p for p in parameters if p.ndim != 2])]
    return [_make(name, chosen, config) for name, chosen in parts if chosen]


def _find(name: str) -> type[torch.optim.Optimizer]:
    if name in OPTIMIZERS:
        return _of_torch(name)
    if ":" not in name:
        raise _refusal(f"there is no optimizer {name!r}", _suggest(name))
    if not _PATH.fullmatch(name):
        raise _refusal(f"{name!r} names no class", "write it as 'package.module:Class'")
    path, _, attribute = name.partition(":")
    try:
        kind = getattr(importlib.import_module(path), attribute)
    except Exception as error:  # whatever the imported module raises
        remedy = "install the package, or run where it can be imported"
        raise _refusal(f"the optimizer {name} cannot be imported: {_said(error)}", remedy) from error
    if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer) or kind is torch.optim.Optimizer:
        raise _refusal(f"{name} is no optimizer", "name a subclass of torch.optim.Optimizer")
    if _asks_for_closure(kind):
        raise _refusal(f"{name} computes the loss several times a step", "use one whose step() needs no closure")
    return kind


def _of_torch(name: str) -> type[torch.optim.Optimizer]:
    kind: type[torch.optim.Optimizer] | None = getattr(torch.optim, OPTIMIZERS[name], None)
    if kind is None:
        raise _refusal(f"torch {torch.__version__} has no {OPTIMIZERS[name]}", "install a newer torch, or use adamw")
    return kind


def _asks_for_closure(kind: type[torch.optim.Optimizer]) -> bool:
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _make(name: str, parameters: Sequence[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    kind = _find(name)
    arguments = _arguments(kind, config) | _ALSO.get(name, {})
    try:
        with drawn_apart(parameters[0].device):
            _rehearse(kind, parameters, arguments)
            return kind(parameters, **arguments)
    except Exception as error:  # whatever the user's class raises
        raise _refusal(f"{name} cannot train these parameters: {_said(error)}", "use another, such as adamw") from error


def _arguments(kind: type[torch.optim.Optimizer], config: TrainConfig) -> dict[str, Any]:
    # Kernels over many tensors at once round otherwise than one tensor at a time: bits must not depend on which runs.
    optional = {"weight_decay": config.step.weight_decay, "momentum": config.step.momentum, "foreach": False}
    taken = inspect.signature(kind).parameters
    return {"lr": config.learning_rate} | {key: value for key, value in optional.items() if key in taken}


def _rehearse(
    kind: type[torch.optim.Optimizer], parameters: Sequence[nn.Parameter], arguments: Mapping[str, Any]
) -> None:
    """One step of stand-ins, the smallest of each kind: some classes refuse a parameter only when they step."""
    by_size = sorted(parameters, key=lambda parameter: parameter.numel(), reverse=True)
    smallest = {(parameter.ndim, parameter.dtype): parameter for parameter in by_size}
    stand_ins = [nn.Parameter(torch.ones_like(parameter)) for parameter in smallest.values()]
    for stand_in in stand_ins:
        stand_in.grad = torch.ones_like(stand_in)
    kind(stand_ins, **arguments).step()


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name.strip().lower(), OPTIMIZERS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(OPTIMIZERS)}, or package.module:Class"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(message: str, remedy: str) -> UsageError:
    return UsageError(message, remedy=remedy, kind="usage.optimizer")
