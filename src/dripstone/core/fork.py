"""The fork: the one trick that training, deltas and serving share.

``fork(module, names)`` gives a module whose skeleton is new, whose tensors under ``names`` are new (all aliases of a
tied tensor together), whose buffers are copied, and whose every other tensor is the very same storage. Whoever moves
the named tensors and the buffers of a fork cannot touch the module it came from, and what differs between the two is
the delta.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import nn

from dripstone.core.errors import ModelError

M = TypeVar("M", bound=nn.Module)


def fork(module: M, names: Iterable[str]) -> M:
    """Copy a module, sharing every parameter that is not named.

    Parameters
    ----------
    module : torch.nn.Module
        What to copy. It is only read.
    names : iterable of str
        Parameters, by any of their names, that get storage of their own. Parameters that share storage with one of
        them go along and share the new storage.

    Returns
    -------
    torch.nn.Module
        Same type and structure. Every parameter is a new ``Parameter`` object, so that flags and gradients are not
        shared; those that are not named have the old storage.

    Raises
    ------
    ModelError
        If a name does not exist, a parameter or buffer is not initialised, or the module holds what cannot be copied.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> twin = fork(net, ["1.weight"])
    >>> twin[0].weight.data_ptr() == net[0].weight.data_ptr()
    True
    >>> twin[1].weight.data_ptr() == net[1].weight.data_ptr()
    False
    """
    _refuse_lazy(module)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    wanted = set(names)
    if unknown := sorted(wanted - parameters.keys()):
        raise ModelError(
            f"the module has no parameter {unknown[0]!r}",
            remedy="name parameters as module.named_parameters() does",
            kind="model.parameter",
        )
    own = {_storage(parameters[name]) for name in wanted}
    storages = {_storage(parameter): parameter.untyped_storage() for parameter in parameters.values()}
    copies = {key: storages[key].clone() for key in own}
    memo: dict[int, object] = {}
    for parameter in parameters.values():
        values = parameter.detach()
        if _storage(parameter) in own:
            layout = (values.storage_offset(), values.shape, values.stride())
            values = values.new_empty(0).set_(copies[_storage(parameter)], *layout)
        memo[id(parameter)] = nn.Parameter(values, requires_grad=parameter.requires_grad)
    try:
        return copy.deepcopy(module, memo)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{type(module).__name__} cannot be copied: {error}",
            remedy="keep locks, open files and computed tensors out of the module",
            kind="model.copy",
        ) from error


def _refuse_lazy(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"{name!r} has no shape yet",
                remedy="run one batch through the lazy module first",
                kind="model.lazy",
            )


def _storage(tensor: torch.Tensor) -> tuple[int, str]:
    """Which memory a tensor views; empty tensors share nothing."""
    pointer = tensor.untyped_storage().data_ptr()
    return (pointer or -id(tensor), str(tensor.device))


def named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor that makes up a version: parameters and persistent buffers, each tied tensor once.

    Returns
    -------
    dict of str to torch.Tensor
        In the order of ``state_dict``; detached, not copied.

    Raises
    ------
    ModelError
        If the module has extra state, which no version could hold.
    """
    state = module.state_dict(keep_vars=True)
    seen: set[int] = set()
    tensors = {}
    for name, value in state.items():
        if name.rpartition(".")[2] == "_extra_state":
            raise ModelError(
                f"{name!r} is extra state, not a parameter or buffer",
                remedy="keep what the model needs in parameters, buffers or factory arguments",
                kind="model.extra_state",
            )
        if id(value) not in seen:
            seen.add(id(value))
            tensors[name] = value.detach()
    return tensors


def changed_tensors(twin: nn.Module, parent: nn.Module) -> dict[str, torch.Tensor]:
    """The delta: tensors of ``twin`` whose bits are not those of ``parent``. Shared storage is not read.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> twin = fork(net, ["0.bias"])
    >>> list(changed_tensors(twin, net))
    []
    >>> _ = twin(torch.ones(3, 2))
    >>> list(changed_tensors(twin, net))
    ['1.running_mean', '1.running_var', '1.num_batches_tracked']
    """
    old = named_tensors(parent)
    return {name: new for name, new in named_tensors(twin).items() if name not in old or not _same_bits(new, old[name])}


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    flat_a, flat_b = a.contiguous().reshape(-1).cpu(), b.contiguous().reshape(-1).cpu()
    return torch.equal(flat_a.view(torch.uint8), flat_b.view(torch.uint8))


def fill(module: nn.Module, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Put values into a module that nobody else holds: a fresh one, or a fork over these names.

    They are taken one at a time, so that whoever reads them from a disk need not hold them all.

    Tensors of the old shape are filled in place, so that ties survive; where the shape differs (a layer has grown)
    the parameter or buffer is replaced by a copy of the value, under that name alone.

    Raises
    ------
    ModelError
        If the module has no tensor of that name, or one of another dtype; what came before it is filled then.
    """
    current = named_tensors(module)
    for name, value in tensors:
        _check_fit(current, name, value)
        if current[name].shape == value.shape:
            current[name].copy_(value)
        else:
            _replace(module, name, value.to(current[name].device, copy=True))


def _check_fit(current: Mapping[str, torch.Tensor], name: str, value: torch.Tensor) -> None:
    if name not in current:
        raise ModelError(
            f"the weights hold {name!r}, which the module does not have",
            remedy="use the factory and arguments that made these weights",
            kind="model.weights",
        )
    if current[name].dtype != value.dtype:
        raise ModelError(
            f"{name!r} is {value.dtype} in the weights and {current[name].dtype} in the module",
            remedy="use the factory and arguments that made these weights",
            kind="model.weights",
        )


def _replace(module: nn.Module, name: str, value: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._buffers:
        owner._buffers[leaf] = value
    else:
        flag = owner.get_parameter(leaf).requires_grad
        setattr(owner, leaf, nn.Parameter(value, requires_grad=flag))
