"""The frozen blocks below what is trained: where they end, what they return, a model that runs to them or past them."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.devices import device_of
from dripstone.core.fork import changed_tensors
from dripstone.core.protocols import Model
from dripstone.core.seeding import drawn_apart
from dripstone.train.modes import evaluating

Batch = dict[str, torch.Tensor] | torch.Tensor

OTHER_ORDER = "the model does not run its blocks one after another"
_OTHER_SHAPE = "the activations of a row change their shape from batch to batch"
_MASK = "attention_mask"


class Unfit(Exception):
    """Why activations cannot be cached. The cache makes it its ``reason``; it goes no further."""


class Reached(BaseException):
    """The last frozen block is done; no ``except Exception`` of a model's may stop that."""


def find_cut(model: Model, names: Iterable[str]) -> int:
    """How many of the backbone's blocks lie below the lowest one that owns a chosen parameter.

    A parameter belongs to every block that has it or shares its memory: what is tied to a trained weight is not frozen.

    Parameters
    ----------
    model : Model
        Its blocks are those of `dripstone.core.blocks.find_blocks`.
    names : iterable of str
        The chosen parameters, by their names within the whole model.

    Returns
    -------
    int
        0 where a chosen parameter stands before the blocks; all blocks where none is in a block or before.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=4, hidden=[8, 8, 8])
    >>> find_cut(model, ["backbone.2.0.weight", "head.weight"]), find_cut(model, ["head.weight"])
    (2, 3)
    """
    blocks = find_blocks(model.backbone)
    chosen = {_memory(model.get_parameter(name)) for name in names}  # type: ignore[attr-defined]
    parameters = list(model.backbone.named_parameters(remove_duplicate=False))
    owners = [
        next((i for i, block in enumerate(blocks) if name.startswith(f"{block}.")), None) for name, _ in parameters
    ]
    touched = [place for place, (_, parameter) in enumerate(parameters) if _memory(parameter) in chosen]
    if not blocks or any(owners[place] is None and place < owners.index(0) for place in touched):
        return 0
    return min((owner for place in touched if (owner := owners[place]) is not None), default=len(blocks))


def _memory(tensor: torch.Tensor) -> int:
    """Which memory a tensor views; empty ones share nothing."""
    return tensor.untyped_storage().data_ptr() or -id(tensor)


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """How large a batch is. ``own`` [rows, tokens] bool is where no padding is; None where the batch has no mask."""

    rows: int
    own: torch.Tensor | None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row; 1 for every row where there is no mask."""
        return [1] * self.rows if self.own is None else self.own.sum(dim=1).tolist()

    @property
    def padded(self) -> bool:
        """Whether a row is shorter than the longest."""
        return self.own is not None and not bool(self.own.all())

    def has_tokens(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is [rows, tokens, ...]."""
        return self.own is not None and tensor.shape[:2] == self.own.shape


def measure(batch: Batch, rows: int) -> Extent:
    """The extent of a batch of so many rows.

    Raises Unfit if a tensor has other rows, or the mask shows padding elsewhere than on the right.

    Examples
    --------
    >>> measure({"attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])}, rows=2).lengths
    [3, 1]
    """
    tensors = list(batch.values()) if isinstance(batch, dict) else [batch]
    if not all(isinstance(tensor, torch.Tensor) and tensor.shape[:1] == (rows,) for tensor in tensors):
        raise Unfit("a batch is not made of tensors with the rows in their first dimension")
    if not isinstance(batch, dict) or _MASK not in batch or batch[_MASK].dim() != 2:
        return Extent(rows, None)
    own = batch[_MASK].bool()
    places = torch.arange(own.shape[1], device=own.device)
    if not torch.equal(own, places < own.sum(dim=1, keepdim=True)):
        raise Unfit("texts are not padded on the right")
    return Extent(rows, own)


def row_digests(batch: Batch, extent: Extent) -> list[bytes]:
    """A hash of each row as it was collated, without its padding."""
    digests = [hashlib.blake2b(digest_size=16) for _ in range(extent.rows)]
    lengths = extent.lengths
    for tensor in batch.values() if isinstance(batch, dict) else [batch]:
        data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().reshape(extent.rows, -1)
        token = data.shape[1] // tensor.shape[1] if extent.has_tokens(tensor) else 0
        for row, digest, length in zip(data, digests, lengths, strict=True):
            digest.update((row[: length * token] if token else row).tobytes())
    return [digest.digest() for digest in digests]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a block returns for a batch.

    ``items`` is the length of the tuple whose first item are the activations, 0 for a bare tensor. The activations are
    [rows, tokens, *trailing] if ``per_token``, else [rows, *trailing].
    """

    items: int
    per_token: bool
    trailing: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def shape(self, extent: Extent) -> tuple[int, ...]:
        """Of the activations of such a batch."""
        tokens = extent.own.shape[1:] if self.per_token and extent.own is not None else ()
        return (extent.rows, *tokens, *self.trailing)

    def counts(self, extent: Extent) -> list[int]:
        """How many vectors each row has: one a token, or one."""
        return extent.lengths if self.per_token else [1] * extent.rows

    def to_vectors(self, output: Any, extent: Extent) -> torch.Tensor:
        """What a block returned as [vectors, width], row after row, without padding. Raises Unfit at another layout."""
        items, values = _activations(output)
        if (items, values.dtype, tuple(values.shape)) != (self.items, self.dtype, self.shape(extent)):
            raise Unfit(_OTHER_SHAPE)
        kept = values[extent.own] if self.per_token and extent.own is not None else values
        return kept.detach().reshape(-1, math.prod(self.trailing)).cpu()

    def to_values(self, vectors: torch.Tensor, extent: Extent) -> torch.Tensor:
        """The activations of a batch again, zeros in the place of padding."""
        if not self.per_token or extent.own is None:
            return vectors.to(self.device).reshape(self.shape(extent))
        values = torch.zeros(self.shape(extent), dtype=self.dtype, device=self.device)
        values[extent.own] = vectors.to(self.device).reshape(-1, *self.trailing)
        return values

    def wrap(self, values: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor | None, ...]:
        """Activations as the block returns them."""
        return (values, *[None] * (self.items - 1)) if self.items else values


def see_layout(output: Any, shorter: Any | None, extent: Extent) -> Layout:
    """The layout of what a block returned for a batch of this extent.

    ``shorter``, what it returns for the same texts cut by a token, tells tokens from a dimension that happens to be as
    long. Raises Unfit if no such layout fits.
    """
    items, values = _activations(output)
    if values.shape[:1] != (extent.rows,):
        raise Unfit("the rows are not the first dimension of what a block returns")
    per_token = extent.has_tokens(values)
    if shorter is not None:
        narrow = _activations(shorter)[1].shape
        per_token = per_token and narrow[1:2] == (values.shape[1] - 1,)
        if narrow[1 + per_token :] != values.shape[1 + per_token :]:
            raise Unfit(_OTHER_SHAPE)
    return Layout(items, per_token, tuple(values.shape[1 + per_token :]), values.dtype, values.device)


def _activations(output: Any) -> tuple[int, torch.Tensor]:
    first = output[0] if type(output) is tuple and output else output
    alone = first is output or all(item is None for item in output[1:])
    if not isinstance(first, torch.Tensor) or not alone or first.is_nested or not first.is_floating_point():
        raise Unfit("a block returns something else than one tensor of real numbers")
    return (0 if first is output else len(output)), first


class Prefix:
    """The blocks below the lowest trained one, and the model around them.

    ``cut`` of its ``blocks`` are frozen; ``last`` holds the last of these. ``tensors`` are all that their result may
    depend on. The model is a fork, for ``forward`` of its blocks is replaced for a while.
    """

    def __init__(self, model: Model, names: Iterable[str]) -> None:
        self.model = model
        self.chosen = {name: model.get_parameter(name) for name in names}  # type: ignore[attr-defined]
        self.cut = find_cut(model, self.chosen)
        self._paths = find_blocks(model.backbone)
        self.blocks = [model.backbone.get_submodule(path) for path in self._paths]
        self.last = self.blocks[: self.cut][-1:]
        self.tensors = self._tensors()

    def reason(self) -> str | None:
        """Why nothing can be cached, as far as it can be seen without running the model."""
        if not self._paths:
            return "the backbone has no blocks"
        if not self.cut:
            return "no block lies below what is trained"
        for path, module, around in self._modules():
            if module._forward_pre_hooks or (module._forward_hooks and not around):
                return f"{path} has a forward hook"
        return None

    def stamp(self) -> list[tuple[int, int]]:
        """Changes when a frozen weight is moved in place. It costs microseconds."""
        weights = [tensor for tensor in self.tensors.values() if isinstance(tensor, nn.Parameter)]
        return [(weight.data_ptr(), weight.is_inference() or weight._version) for weight in weights]

    def differs_from(self, other: Prefix) -> bool:
        """Whether another fork's tensors below the cut have other bits. Shared memory is not read."""
        moved = changed_tensors(self.model, other.model)  # type: ignore[arg-type]
        return self.cut != other.cut or not moved.keys().isdisjoint(self.tensors)

    def buffers(self) -> set[str]:
        """Names of the buffers of the frozen blocks, of the modules before them and of those around them."""
        modules = self._modules()
        return {name for path, module, _ in modules for name, _ in module.named_buffers(path, recurse=False)}

    def _tensors(self) -> dict[str, torch.Tensor]:
        if not self.cut:
            return {}
        backbone, buffers = self.model.backbone, self.buffers()
        trained = tuple(f"backbone.{path}." for path in self._paths[self.cut :])
        own: list[tuple[str, torch.Tensor]] = [(n, b) for n, b in backbone.named_buffers("backbone") if n in buffers]
        own += backbone.named_parameters("backbone")
        ids = {id(parameter) for parameter in self.chosen.values()}
        return {name: tensor for name, tensor in own if id(tensor) not in ids and not name.startswith(trained)}

    def _modules(self) -> list[tuple[str, nn.Module, bool]]:
        """Path in the model, module, and whether it is around the blocks, of all that may run before the cut."""
        found: list[tuple[str, nn.Module, bool]] = []
        last = self._paths[self.cut - 1] if self.cut else ""
        passed = not self.cut
        for path, module in self.model.backbone.named_modules():
            inside = bool(last) and (path == last or path.startswith(last + "."))
            if passed and not inside:
                break
            passed = inside
            around = not path or last.startswith(path + ".")
            found.append((f"backbone.{path}" if path else "backbone", module, around))
        return found

    def run(self, batch: Batch) -> Any:
        """What the last frozen block returns for a batch; nothing is computed after it, no gradients."""
        with torch.no_grad(), watching(self.last, stop=True) as seen:
            try:
                self.model.features(batch)
            except Reached:
                return seen[-1][1]
        raise Unfit(OTHER_ORDER)

    @contextmanager
    def skipping(
        self, values: torch.Tensor, layouts: Sequence[Layout], extent: Extent, *, poison: bool = False
    ) -> Iterator[None]:
        """The frozen blocks compute nothing; the last one returns ``values``.

        So do those before it, or zeros of their own shape; with ``poison`` NaN, which spreads to whatever reads them.
        """

        def stand_in(layout: Layout, last: bool) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                if last or (layout == layouts[-1] and not poison):
                    return layout.wrap(values.clone())  # a copy: the module that comes next may work in place
                other = math.nan if poison else 0.0
                return layout.wrap(torch.full(layout.shape(extent), other, dtype=layout.dtype, device=layout.device))

            return forward

        forwards = [stand_in(layout, index == self.cut - 1) for index, layout in enumerate(layouts)]
        with replaced_forward(self.blocks[: self.cut], forwards):
            yield


@contextmanager
def watching(modules: Sequence[nn.Module], *, stop: bool = False) -> Iterator[list[tuple[int, Any]]]:
    """Number and result of each of these modules that runs, in the order in which they run.

    Results are copies, because what comes next may work in place. With ``stop`` the first to be done raises `Reached`.
    """
    seen: list[tuple[int, Any]] = []

    def watch(index: int, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            seen.append((index, _copy(output)))
            if stop:
                raise Reached
            return output

        return forward

    with replaced_forward(modules, [watch(index, module.forward) for index, module in enumerate(modules)]):
        yield seen


def _copy(output: Any) -> Any:
    if type(output) is tuple:
        return tuple(_copy(item) for item in output)
    return output.clone() if isinstance(output, torch.Tensor) else output


@contextmanager
def replaced_forward(modules: Sequence[nn.Module], forwards: Sequence[Callable[..., Any]]) -> Iterator[None]:
    """Other ``forward`` functions for some modules, and their own again afterwards."""
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, forward in zip(modules, forwards, strict=True):
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own


Buffers = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Buffers by name, and copies of them."""


@contextmanager
def undisturbed(model: Model, chosen: Iterable[nn.Parameter]) -> Iterator[Buffers]:
    """Eval mode, gradients for the chosen parameters; modes, flags, buffers and random numbers as before afterwards."""
    module: nn.Module = model  # type: ignore[assignment]
    ids = {id(parameter) for parameter in chosen}
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    buffers = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers()}
    python, legacy = random.getstate(), np.random.get_state()
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in ids)
        with evaluating(model), drawn_apart(device_of(module)), torch.inference_mode(False), torch.enable_grad():
            yield buffers
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for name in moved_buffers(model, buffers):
            path, _, leaf = name.rpartition(".")
            module.get_submodule(path)._buffers[leaf] = buffers[name][0].copy_(buffers[name][1])


def moved_buffers(model: Model, before: Buffers) -> set[str]:
    """Names of the buffers whose values are not those of the copies."""
    now = dict(model.named_buffers())  # type: ignore[attr-defined]
    return {name for name, (_, values) in before.items() if name not in now or not _equal(now[name], values)}


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    same_kind = (a.shape, a.dtype) == (b.shape, b.dtype)
    return same_kind and bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=True).all())
