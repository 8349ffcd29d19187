"""An optimiser's state from one update to the next, keyed by the names of the parameters.

``Optimizer.load_state_dict`` goes by position: after a change of selection it gives a block the moments of another one
of the same shape, and says nothing. Here a parameter gets its own state back or starts fresh.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import UsageError
from dripstone.core.seeding import drawn_apart
from dripstone.core.tensors import RawTensor

_NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float64}


def save_state(optimizers: Sequence[torch.optim.Optimizer], named: Mapping[str, nn.Parameter]) -> dict[str, RawTensor]:
    """The state that optimisers keep of their parameters.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
        As `dripstone.train.optimizers.make_optimizers` makes them.
    named : mapping of str to torch.nn.Parameter
        Every parameter that they hold.

    Returns
    -------
    dict of str to RawTensor
        By ``class/parameter/entry``; a class that is not torch's goes by ``package.module:Class``. Python's numbers
        become tensors of shape ().

    Raises
    ------
    UsageError
        ``usage.optimizer`` if an entry is neither a tensor nor a number.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> named = dict(layer.named_parameters())
    >>> optimizer = torch.optim.Adagrad(named.values())
    >>> list(save_state([optimizer], named))
    ['Adagrad/weight/step', 'Adagrad/weight/sum', 'Adagrad/bias/step', 'Adagrad/bias/sum']
    """
    return {
        f"{owner}/{entry}": to_raw(_tensor(value, owner, entry))
        for optimizer, owner, parameter in _owners(optimizers, named)
        for entry, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_state(
    optimizers: Sequence[torch.optim.Optimizer], named: Mapping[str, nn.Parameter], saved: Mapping[str, RawTensor]
) -> int:
    """Give parameters their state back.

    A parameter starts fresh unless class, name and entries are those that were saved, each entry of the very shape and
    type that one step on a parameter like this gives it, and all values are finite. So does every parameter of a class
    that keeps part of its state in its parameter groups. (What a class keeps in attributes of its own is not seen.)

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
        New ones, before their first step.
    named : mapping of str to torch.nn.Parameter
        Every parameter that they hold.
    saved : mapping of str to RawTensor
        What `save_state` gave.

    Returns
    -------
    int
        How many parameters got their state back.

    Raises
    ------
    StoreError
        If the bytes of an entry are not those of its shape.

    Examples
    --------
    >>> old, new = nn.Linear(2, 1), nn.Linear(2, 3)
    >>> was, now = dict(old.named_parameters()), dict(new.named_parameters())
    >>> saved = save_state([torch.optim.Adagrad(was.values())], was)
    >>> load_state([torch.optim.Adagrad(was.values())], was, saved)
    2
    >>> load_state([torch.optim.Adagrad(now.values())], now, saved)
    0
    """
    kept: dict[str, dict[str, RawTensor]] = {}
    for key, raw in saved.items():
        owner, _, entry = key.rpartition("/")
        kept.setdefault(owner, {})[entry] = raw
    restored = 0
    for optimizer, owner, parameter in _owners(optimizers, named):
        if owner in kept and (state := _restored(kept[owner], _state_after_a_step(optimizer, parameter))):
            optimizer.state[parameter] = state
            restored += 1
    return restored


def _owners(
    optimizers: Sequence[torch.optim.Optimizer], named: Mapping[str, nn.Parameter]
) -> Iterator[tuple[torch.optim.Optimizer, str, nn.Parameter]]:
    """Every parameter with its optimiser and ``class/parameter``; of several names the first counts."""
    names = {id(parameter): name for name, parameter in reversed(list(named.items()))}
    for optimizer in optimizers:
        kind = type(optimizer)
        of_torch = kind.__module__.startswith("torch.optim.")
        prefix = kind.__name__ if of_torch else f"{kind.__module__}:{kind.__qualname__}"
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield optimizer, f"{prefix}/{names[id(parameter)]}", parameter


def _tensor(value: Any, owner: str, entry: str) -> torch.Tensor:
    if not isinstance(entry, str) or "/" in entry or not isinstance(value, (torch.Tensor, *_NUMBERS)):
        raise UsageError(
            f"the optimizer's state {owner}/{entry} is {type(value).__name__}, which cannot be carried on",
            remedy="set train.step.carry to false, or use another optimizer",
            kind="usage.optimizer",
        )
    return value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=_NUMBERS[type(value)])


def _state_after_a_step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    """What the optimiser keeps of a parameter like this, seen on a stand-in; nothing if it keeps more elsewhere."""
    kind = type(optimizer)
    taken = inspect.signature(kind).parameters
    stand_in = nn.Parameter(torch.ones_like(parameter))
    stand_in.grad = torch.ones_like(parameter)
    with drawn_apart(parameter.device):
        twin = kind([stand_in], **{key: value for key, value in optimizer.defaults.items() if key in taken})
        settings = _settings(twin)
        twin.step()
    if _settings(twin) != settings or twin.state.keys() != {stand_in}:
        return {}
    return twin.state[stand_in]


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [
        {
            key: value.tolist() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
            for key, value in group.items()
            if key != "params"
        }
        for group in optimizer.param_groups
    ]


def _restored(entries: Mapping[str, RawTensor], fresh: dict[str, Any]) -> dict[str, Any]:
    """The saved state in the form of a fresh one; empty if one of them does not fit the other."""
    if entries.keys() != {entry for entry, value in fresh.items() if value is not None}:
        return {}
    state = dict(fresh)
    for entry, raw in entries.items():
        value = _fitting(raw, fresh[entry])
        if value is None or (entry == "step" and bool(torch.as_tensor(value).lt(0).any())):
            return {}
        state[entry] = value
    return state


def _fitting(raw: RawTensor, like: Any) -> Any:
    """The saved value, as a number or with the strides and on the device of ``like``; None if it does not fit."""
    is_tensor = isinstance(like, torch.Tensor)
    dtype = like.dtype if is_tensor else _NUMBERS.get(type(like))
    if raw.shape != (tuple(like.shape) if is_tensor else ()):
        return None
    value = from_raw(raw)
    if value.dtype != dtype or not torch.isfinite(value).all():
        return None
    return torch.empty_like(like).copy_(value) if is_tensor else value.item()
