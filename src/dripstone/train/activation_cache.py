"""The activation cache: what lies below the lowest trained block is computed once a row and stage, not once an epoch.

Embeddings and masks are still computed by the model's own code, and so is all that lies above: the frozen blocks alone
are skipped, and the last of them returns what it returned before. With q of L blocks trained, an epoch costs q/L of a
full forward and backward pass, against (L + 2q)/3L without the cache.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch

from dripstone.core.events import Encoded
from dripstone.core.examples import Content, content_id
from dripstone.core.protocols import Model
from dripstone.train.features import BATCH
from dripstone.train.modes import evaluating, set_modes
from dripstone.train.prefix import (
    OTHER_ORDER,
    Batch,
    Extent,
    Layout,
    Prefix,
    Unfit,
    measure,
    moved_buffers,
    row_digests,
    see_layout,
    undisturbed,
    watching,
)

BUDGET = 2**30
"""Bytes of activations that are kept in memory; what is more goes to a temporary file."""

_OTHER_INPUT = "the input changes from call to call (augmentation)"


class ActivationCache:
    """Activations of the last frozen block, by row.

    On the first rows the model that skips its frozen blocks is compared with the whole one: the outputs, and the
    gradient of every chosen parameter. So whatever is no plain sequence of blocks is found out, and the cache is off.

    Parameters
    ----------
    model : Model
        A fork that owns the chosen parameters.
    names : sequence of str
        The chosen parameters, by their names within the whole model.
    budget : int
        Bytes that are kept in memory.

    Attributes
    ----------
    cut : int
        How many blocks are frozen.
    reason : str or None
        Why the cache is off. Every method still works; the model computes it all then.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> model, rows = mlp(inputs=4, hidden=[8, 8, 8], random_features=16), [np.ones(4, dtype="f4")] * 3
    >>> cache = ActivationCache(model, ["backbone.2.0.weight", "head.weight"])
    >>> [str(event) for event in cache.fill(rows)]
    ['features of 1 of 1 rows']
    >>> batch = model.collate(rows)
    >>> with cache.replaying(rows, batch):
    ...     logits = model(batch)
    >>> cache.cut, cache.reason
    (2, None)
    """

    def __init__(self, model: Model, names: Sequence[str], budget: int = BUDGET) -> None:
        self._names, self._budget = tuple(names), budget
        self._prefix = Prefix(model, names)
        self._layouts: Sequence[Layout] = ()
        self._checked = self._checked_padding = False
        self._forget()
        self.cut = self._prefix.cut
        self.reason = self._prefix.reason()

    def attach(self, model: Model) -> None:
        """Go on with another fork of the same model. What is recorded stays if no bit below the cut differs."""
        before, self._prefix = self._prefix, Prefix(model, self._names)
        self.cut = self._prefix.cut
        self.reason = self.reason or self._prefix.reason()
        if self._prefix.differs_from(before):
            self._checked = False
            self._forget()
        self._stamp = self._prefix.stamp()

    @contextmanager
    def recording(self, inputs: Sequence[Content], batch: Batch) -> Iterator[None]:
        """Keep the activations of these rows while ``model.features(batch)`` runs; in eval mode, without gradients.

        Parameters
        ----------
        inputs : sequence of str or numpy.ndarray
            The rows of the batch.
        batch : dict of str to torch.Tensor, or torch.Tensor
            What ``model.collate`` made of them.
        """
        ready = self._ready(inputs, batch)
        with evaluating(self._prefix.model), torch.no_grad():
            if not ready:
                yield
                return
            with watching(self._prefix.last) as seen:
                yield
        if seen:
            self._keep(inputs, batch, seen[-1][1])

    def fill(self, inputs: Sequence[Content]) -> Generator[Encoded, None, None]:
        """Compute what is not recorded yet of these rows, texts of like length together, and nothing above the cut.

        Yields
        ------
        Encoded
            After each batch; nothing where the cache is off.
        """
        missing = [row for key, row in {content_id(row): row for row in inputs}.items() if key not in self._rows]
        if missing and isinstance(missing[0], str):
            missing.sort(key=len)
        for start in range(0, len(missing), BATCH):
            chunk = missing[start : start + BATCH]
            self._fill(chunk)
            if self.reason is not None:
                return
            yield Encoded(start + len(chunk), len(missing))

    @contextmanager
    def replaying(self, inputs: Sequence[Content], batch: Batch) -> Iterator[None]:
        """Skip the frozen blocks while the model runs on this batch, given as for `recording`.

        Rows that are not recorded yet are computed first.
        """
        found = self._find(inputs, batch)
        if found is None:
            yield
            return
        with self._prefix.skipping(*found):
            yield

    def _ready(self, inputs: Sequence[Content], batch: Batch) -> bool:
        """Whether the cache is on and there are rows; the first rows are checked, and the first with padding."""
        if self.reason is not None or not len(inputs):
            return False
        if self._stamp != self._prefix.stamp():  # somebody moved a frozen weight
            self._forget()
        try:
            extent = measure(batch, len(inputs))
            if not self._checked or (extent.padded and not self._checked_padding):
                order = sorted(range(len(inputs)), key=extent.lengths.__getitem__)
                self._layouts, padded = check(self._prefix, [inputs[i] for i in order])
                self._checked, self._checked_padding = True, padded or extent.padded
                if self._stamp != self._prefix.stamp():
                    raise Unfit("a frozen weight moves while the model runs")
        except Unfit as unfit:
            self._switch_off(unfit)
        return self.reason is None

    def _fill(self, rows: Sequence[Content]) -> None:
        with evaluating(self._prefix.model):
            batch = self._prefix.model.collate(rows)
            if not self._ready(rows, batch):
                return
            try:
                output = self._prefix.run(batch)
            except Unfit as unfit:
                self._switch_off(unfit)
                return
        self._keep(rows, batch, output)

    def _keep(self, inputs: Sequence[Content], batch: Batch, output: Any) -> None:
        """Record the activations of rows that are not recorded yet."""
        layout = self._layouts[-1]
        try:
            extent = measure(batch, len(inputs))
            parts = layout.to_vectors(output, extent).split(layout.counts(extent))
            digests = row_digests(batch, extent)
            fresh = {key: i for i, row in enumerate(inputs) if (key := content_id(row)) not in self._rows}
            for key, i in fresh.items():
                self._rows[key] = Row(digests[i], self._vectors.append(parts[i]))
        except Unfit as unfit:
            self._switch_off(unfit)

    def _find(self, inputs: Sequence[Content], batch: Batch) -> tuple[torch.Tensor, Sequence[Layout], Extent] | None:
        """A batch's activations, what the blocks return, its extent; None where the model has to compute it all."""
        if not self._ready(inputs, batch):
            return None
        for _ in self.fill(inputs):
            pass
        if self.reason is not None:
            return None
        extent = measure(batch, len(inputs))
        rows = [self._rows[content_id(row)] for row in inputs]
        if [row.digest for row in rows] != row_digests(batch, extent):
            self._switch_off(Unfit(_OTHER_INPUT))
            return None
        vectors = torch.cat([self._vectors.read(row.place) for row in rows])
        return self._layouts[-1].to_values(vectors, extent), self._layouts, extent

    def _forget(self) -> None:
        self._rows: dict[str, Row] = {}
        self._vectors = Vectors(self._budget)
        self._stamp = self._prefix.stamp()

    def _switch_off(self, unfit: Unfit) -> None:
        self.reason = str(unfit)
        self._forget()


Place = torch.Tensor | tuple[int, torch.Size, torch.dtype]
"""Vectors in memory, or where in the file they begin and what they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A recorded row: a hash of it as it was collated, and where its vectors are."""

    digest: bytes
    place: Place


class Vectors:
    """[tokens, width] of many rows: in memory up to a budget, then in a temporary file that has no name.

    Examples
    --------
    >>> vectors = Vectors(budget=8)
    >>> places = [vectors.append(torch.full((1, 2), float(i))) for i in range(3)]
    >>> [vectors.read(place).tolist() for place in places]
    [[[0.0, 0.0]], [[1.0, 1.0]], [[2.0, 2.0]]]
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._file: IO[bytes] | None = None
        self._written = 0
        self._mapped = torch.empty(0, dtype=torch.uint8)

    def append(self, vectors: torch.Tensor) -> Place:
        """Keep the vectors of a row; returns where they are. Raises Unfit if the disk is full."""
        size = vectors.numel() * vectors.element_size()
        if size <= self._left:
            self._left -= size
            return vectors
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            written = self._file.write(vectors.contiguous().view(-1).view(torch.uint8).numpy().data)
        except OSError as error:
            raise Unfit(f"the activations do not fit on the disk: {error}") from error
        if written != size:
            raise Unfit("the activations do not fit on the disk")
        self._written += size
        return self._written - size, vectors.shape, vectors.dtype

    def read(self, place: Place) -> torch.Tensor:
        """The vectors at a place; nobody may write to them."""
        if isinstance(place, torch.Tensor):
            return place
        start, shape, dtype = place
        end = start + shape.numel() * dtype.itemsize
        if end > len(self._mapped):
            # Copy on write is what torch takes without a warning.
            self._mapped = torch.from_numpy(np.memmap(self._file, mode="c", shape=(self._written,)))  # type: ignore[call-overload]
        return self._mapped[start:end].view(dtype).reshape(shape)


def check(prefix: Prefix, inputs: Sequence[Content]) -> tuple[list[Layout], bool]:
    """Compare the model that skips its frozen blocks with the whole one on a few rows; nothing is left changed.

    The shortest and the longest of ``inputs``, which come by length, are taken, and recorded apart from one another.
    Returns what each frozen block returns, and whether a row was padded. Raises Unfit if there is a difference.
    """
    rows = [*inputs[:2], *inputs[max(2, len(inputs) - 2) :]]
    rows = rows * 2 if len(rows) == 1 else rows
    with undisturbed(prefix.model, prefix.chosen.values()) as buffers:
        batch = _stable_batch(prefix.model, rows)
        extent = measure(batch, len(rows))
        with watching(prefix.blocks) as seen:
            whole = _outcome(prefix, batch)
        if moved := sorted(moved_buffers(prefix.model, buffers) & prefix.buffers()):
            raise Unfit(f"a buffer of a frozen block changes while it runs: {moved[0]}")
        layouts = _layouts(prefix, seen, batch, extent)
        vectors = _recorded(prefix, rows, layouts[-1])
        _compare_vectors(prefix, vectors, seen[prefix.cut - 1][1], batch, layouts[-1], extent)
        values = layouts[-1].to_values(vectors, extent)
        try:
            with prefix.skipping(values, layouts, extent, poison=True):
                skipped = _outcome(prefix, batch)
        except Exception as error:  # whatever a model makes of NaN where it reads what a frozen block returned
            raise Unfit(f"{OTHER_ORDER}: without the frozen ones it fails, {error}") from error
        _compare_outcomes(prefix, whole, skipped, values.dtype)
    if (reason := prefix.reason()) is not None:  # some models add their hooks when they first run
        raise Unfit(reason)
    return layouts, extent.padded


def _stable_batch(model: Model, rows: Sequence[Content]) -> Batch:
    """The rows as a batch, if it is the same at every call, in whatever mode the loop has put the preprocessing."""
    batches = []
    for training in (True, True, False, False):
        set_modes(model, training)
        batches.append(model.collate(rows))
    first, *others = [row_digests(batch, measure(batch, len(rows))) for batch in batches]
    if any(digests != first for digests in others):
        raise Unfit(_OTHER_INPUT)
    return batches[-1]


def _layouts(prefix: Prefix, seen: Sequence[tuple[int, Any]], batch: Batch, extent: Extent) -> list[Layout]:
    """What each frozen block returns, if they run in their order, once, before all others."""
    order = [index for index, _ in seen]
    if order[: prefix.cut] != list(range(prefix.cut)) or any(index < prefix.cut for index in order[prefix.cut :]):
        raise Unfit(OTHER_ORDER)
    shorter: list[Any] = [None] * prefix.cut
    if isinstance(batch, dict) and extent.own is not None and extent.own.shape[1] > 1:
        with watching(prefix.blocks[: prefix.cut]) as again:
            prefix.run({name: rows[:, :-1] if extent.has_tokens(rows) else rows for name, rows in batch.items()})
        shorter = [output for _, output in again]
    return [see_layout(output, short, extent) for (_, output), short in zip(seen, shorter, strict=False)]


def _recorded(prefix: Prefix, rows: Sequence[Content], layout: Layout) -> torch.Tensor:
    """The vectors of these rows, recorded in two batches, so that they are padded otherwise than together."""
    parts = []
    for some in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        batch = prefix.model.collate(some)
        parts.append(layout.to_vectors(prefix.run(batch), measure(batch, len(some))))
    return torch.cat(parts)


def _compare_vectors(
    prefix: Prefix, recorded: torch.Tensor, output: Any, batch: Batch, layout: Layout, extent: Extent
) -> None:
    expected = layout.to_vectors(output, extent)
    if not _close(recorded, expected, _size(expected), layout.dtype):
        raise Unfit("the activations of a row depend on the other rows of its batch")
    chosen = {id(parameter) for parameter in prefix.chosen.values()}
    for part in prefix.model.modules():  # type: ignore[attr-defined]
        part.training = any(id(parameter) in chosen for parameter in part.parameters())
    trained = layout.to_vectors(prefix.run(batch), extent)
    set_modes(prefix.model, False)
    if not _close(trained, expected, _size(expected), layout.dtype):
        raise Unfit("below its frozen blocks the model does something else while it trains (dropout)")


Outcome = tuple[list[torch.Tensor], list[torch.Tensor | None]]


def _outcome(prefix: Prefix, batch: Batch) -> Outcome:
    """Features and logits, and the gradients of the chosen parameters for a fixed random sum of both."""
    with watching([prefix.model.backbone]) as seen:
        logits = prefix.model.forward(batch)
    outputs = [*(output for _, output in seen), logits]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(output.shape, generator=generator).to(output) for output in outputs]
    loss = sum((output * weight).sum().float() for output, weight in zip(outputs, weights, strict=True))
    chosen = list(prefix.chosen.values())
    found = torch.autograd.grad(loss, chosen, allow_unused=True) if loss.requires_grad else [None] * len(chosen)
    return [output.detach() for output in outputs], list(found)


def _compare_outcomes(prefix: Prefix, whole: Outcome, skipped: Outcome, dtype: torch.dtype) -> None:
    for expected, found in zip(whole[0], skipped[0], strict=True):
        if not _close(found, expected, _size(expected), dtype):
            raise Unfit(f"{OTHER_ORDER}: without the frozen ones its outputs differ")
    size = max((_size(gradient) for gradient in whole[1] if gradient is not None), default=0.0)
    for name, before, after in zip(prefix.chosen, whole[1], skipped[1], strict=True):
        if before is None and after is None:
            continue
        if before is None or after is None or not _close(after, before, size, dtype):
            raise Unfit(f"{name} gets another gradient without the frozen blocks")


def _size(tensor: torch.Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _close(found: torch.Tensor, expected: torch.Tensor, size: float, dtype: torch.dtype) -> bool:
    """Up to what another order of sums makes of float32, or to the rounding of a shorter ``dtype``."""
    rounding = torch.finfo(dtype).eps
    return math.isfinite(size) and torch.allclose(found, expected, max(1e-4, 8 * rounding), max(1e-5, rounding) * size)
