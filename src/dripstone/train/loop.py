"""The loop: minibatches, the task's loss, an optimiser over the selected parameters and nothing else.

The optimiser is new for every update and holds the selected parameters only: a stale gradient, a weight decay or an old
momentum cannot move what was not selected.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from dripstone.core import processes
from dripstone.core.config import TrainConfig
from dripstone.core.devices import device_of, has_bfloat16
from dripstone.core.errors import DivergedError
from dripstone.core.events import Epoch
from dripstone.core.examples import Inputs
from dripstone.core.parts import Chosen, Part, Rotation
from dripstone.core.protocols import Change, Model, Prune
from dripstone.core.seeding import seeded
from dripstone.core.tensors import RawTensor
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.batches import make_batches
from dripstone.train.carry import load_state, save_state
from dripstone.train.modes import evaluating
from dripstone.train.optimizers import make_optimizers
from dripstone.train.packed import Packed
from dripstone.train.retain import ParameterTerms, RowTerms, make_terms
from dripstone.train.rows import Rows
from dripstone.train.schedule import learning_rate_factor, set_learning_rate
from dripstone.train.stopping import Patience, Stopwatch

WATCHED = 10
"""One training row in so many is watched, not learned, where the loop stops without progress."""


def run_loop(
    model: nn.Module,
    names: Sequence[str],
    rows: Rows,
    config: TrainConfig,
    selection: str,
    *,
    cache: ActivationCache | None = None,
    carried: dict[str, RawTensor] | None = None,
    prune: Prune | None = None,
    change: Change | None = None,
    parts: Mapping[str, Part] | None = None,
    rotation: Rotation | None = None,
) -> Generator[Epoch, None, dict[str, RawTensor]]:
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
        Optimiser, largest batch size, learning rate and how it goes, when to stop, terms against forgetting, seed.
        Batches are of even size, texts of like length together.
    selection : str
        For the events.
    cache : ActivationCache, optional
        What the frozen blocks make of the rows; those that it lacks are computed first.
    carried : dict of str to RawTensor, optional
        State of the optimisers of an earlier update, for ``config.step.carry``; what does not fit is left out.
    prune : Prune, optional
        Chooses the rows of each epoch. Without it, every epoch learns all.
    change : Change, optional
        What each batch's inputs become before they are learned; a cache has no part in it then.
    parts : mapping of str to Part, optional
        Of parameters that may move in part only, which part.
    rotation : Rotation, optional
        Which of the named parameters move from the first step on, and which others after every so many.

    Returns
    -------
    dict of str to RawTensor
        State of the optimisers, where ``config.step.carry`` asks for it; else nothing.

    Raises
    ------
    DivergedError
        If the loss or a weight is no longer finite.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.core.config import Stop
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> inputs = [np.array([x, 1.0], dtype="f4") for x in (-2.0, -1.0, 1.0, 2.0)]
    >>> rows = Rows(inputs, torch.tensor([0, 0, 1, 1]), torch.ones(4))
    >>> config = TrainConfig(stop=Stop(epochs=2), learning_rate=0.1)
    >>> for event in run_loop(model, ["head.weight"], rows, config, "head@adamw"):
    ...     print(event)
    head@adamw: epoch 1 of 2, running loss 0.6931
    head@adamw: epoch 2 of 2, running loss 0...
    """
    generator = torch.Generator().manual_seed(config.seed)
    learned, watched = _part(rows, config, generator)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    # How many rows a pruned epoch has is not known yet, and of an odd number one is left over from batches of two.
    smallest = _smallest_batch(len(learned), config.batch_size)
    if prune is not None:
        smallest = min(smallest, (config.batch_size + 1) // 2)
    alone = 0 < smallest < 2 * processes.size() or (processes.size() > 1 and cache is not None)
    first = Chosen(list(names), parts or {}) if rotation is None else next(rotation.turns)
    loop = _Loop(model, rows, config, generator, None if change else cache, prune, change, rotation, alone=alone)
    try:
        loop.take_turn(first)
        loop.add_terms()
        if carried and config.step.carry:
            load_state(loop.optimizers, loop.packed.leaves, carried)
        moving = [*_named(model, names).values(), *model.buffers()]
        best = _Best(moving, Patience(config.stop))
        for epoch in range(1, config.stop.epochs + 1):
            loss = loop.run_epoch(learned, epoch)
            _check(loss, loop.packed.leaves, epoch)
            yield Epoch(selection, epoch, config.stop.epochs, loss)
            if len(watched):
                best.see(processes.by_first(partial(loop.measure, watched), float))
            if best.patience.exhausted or loop.stopwatch.out_of_time():
                break
        best.restore()
        processes.copy_first(moving)
        return save_state(loop.optimizers, loop.packed.leaves) if config.step.carry else {}
    finally:
        loop.packed.close()
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
        model.eval()


@dataclass(slots=True, eq=False)
class _Loop:
    """What every step needs."""

    model: nn.Module
    rows: Rows
    config: TrainConfig
    generator: torch.Generator
    cache: ActivationCache | None
    prune: Prune | None
    change: Change | None
    rotation: Rotation | None
    alone: bool
    packed: Packed = field(init=False, default_factory=lambda: Packed({}, {}))
    optimizers: list[torch.optim.Optimizer] = field(init=False, default_factory=list)
    row_terms: RowTerms = field(init=False, default_factory=list)
    parameter_terms: ParameterTerms = field(init=False, default_factory=list)
    weights: torch.Tensor = field(init=False)
    factors: torch.Tensor = field(init=False)
    losses: torch.Tensor = field(init=False)
    draw: np.random.Generator = field(init=False)
    stopwatch: Stopwatch = field(init=False)
    device: torch.device = field(init=False)
    halves: bool = field(init=False)
    settled: bool = field(init=False)
    steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.device = device_of(self.model)
        self.halves = has_bfloat16(self.device)
        cached = torch.tensor([self.cache is not None and self.cache.reason is None], dtype=torch.int64)
        processes.add_up(cached)
        self.settled = processes.size() > 1 and int(cached) == processes.size()
        self.weights = self.rows.relative_weights()
        self.factors = torch.ones(len(self.weights), dtype=torch.float64)
        self.losses = torch.full((len(self.weights),), math.nan, dtype=torch.float64)
        self.draw = np.random.default_rng(self.config.seed)
        self.stopwatch = Stopwatch(self.config.stop)

    def take_turn(self, chosen: Chosen) -> None:
        """Let these move, and nothing else, from the next step on; with a state of their own."""
        self.packed.close()
        self.packed = Packed(_prepare(self.model, set(chosen.names), alone=self.alone), chosen.parts)
        self.optimizers = make_optimizers(self.packed.leaves, self.config)

    def add_terms(self) -> None:
        """Hold what the configuration says, as it is now."""
        moving = self.packed.moving.values()
        self.row_terms, self.parameter_terms = make_terms(self.model, moving, self.rows, self.config.retain)

    def run_epoch(self, learned: torch.Tensor, epoch: int) -> float:
        """One pass; returns the weighted mean of the loss. Dropout draws from a generator that nobody else moves."""
        epochs = self.config.stop.epochs
        if self.prune is not None:
            learned, factors = self.prune.choose(learned, self.losses, epoch, epochs, self.config.seed)
            self.factors[learned] = factors
        batches = make_batches(self.rows.inputs, learned, self.config.batch_size, self.generator)
        accumulate = self.config.step.accumulate
        groups = [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]
        planned = self.steps + (epochs - epoch + 1) * len(groups)
        total, seen = 0.0, 0.0  # factors of a pruned epoch's rows stand for those that are not there
        seed = int(torch.randint(2**62, (), generator=self.generator))
        with seeded(seed + processes.rank(), self.device):
            for group in groups:
                if self.stopwatch.out_of_time():
                    break
                total += self._step(group, min(planned, self.config.stop.steps or planned))
                seen += sum(float(self.factors[index].sum()) for index in group)
        if self.prune is not None:
            self._join_losses(batches)
        return total / max(seen, 1.0)

    def _join_losses(self, batches: Sequence[torch.Tensor]) -> None:
        """Give every process the losses that the others have seen in this epoch."""
        mine = torch.zeros_like(self.losses)
        for index in batches:
            own = index[self._owners(index) == processes.rank()]
            mine[own] = self.losses[own]
        processes.add_up(mine)
        for index in batches:
            self.losses[index] = mine[index]

    def _step(self, group: Sequence[torch.Tensor], planned: int) -> float:
        """One step over some batches; returns the sum of their rows' losses."""
        if self.rotation is not None and self.steps and self.steps % self.rotation.every == 0:
            self.take_turn(next(self.rotation.turns))
        leaves = self.packed.leaves.values()
        count = sum(len(index) for index in group)
        total = 0.0
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        for index in group:
            loss = self._loss(index)
            if loss is not None:
                loss = loss * (len(index) / count)
                loss.backward()
                total += float(loss.detach())
        total = processes.add_up_gradients(list(leaves), total)
        if self.config.step.clip is not None:
            nn.utils.clip_grad_norm_(leaves, self.config.step.clip)
        set_learning_rate(self.optimizers, learning_rate_factor(self.steps, planned, self.config.step))
        for optimizer in self.optimizers:
            optimizer.step()
        self.packed.put()
        self.steps += 1
        self.stopwatch.step_done()
        return total * count

    def _loss(self, index: torch.Tensor) -> torch.Tensor | None:
        """This process's share of a batch's loss, those of all add up to it; None where it has none of the rows."""
        inputs = self._inputs(index)
        if self.change is not None:
            inputs = self.change(inputs, self.draw)
        owners = self._owners(index)
        places = torch.nonzero(owners == processes.rank()).flatten()
        if not len(places):
            return None
        mine = index[places]
        logits = self._logits(mine, [inputs[place] for place in places.tolist()] if inputs else [])
        loss = self._mean_loss(logits, mine)
        for row_term in self.row_terms:
            loss = loss + row_term.loss(logits, mine)
        loss = loss * (len(mine) / len(index))
        for parameter_term in self.parameter_terms:
            loss = loss + parameter_term.loss() / len(owners.unique())
        return loss

    def _owners(self, index: torch.Tensor) -> torch.Tensor:
        """Which process learns each row of a batch: all have as many, unless a cache knows rows of its own."""
        if self.settled:
            return processes.owners([self.rows.inputs[i] for i in index.tolist()])
        return torch.arange(len(index)) % processes.size()

    def _mean_loss(self, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        losses = self.rows.losses(logits, self.rows.targets[index])
        if self.prune is not None:
            self.losses[index] = losses.detach().to(self.losses)
        return (losses * (self.weights * self.factors)[index].to(losses)).mean()

    def _inputs(self, index: torch.Tensor) -> Sequence[Inputs]:
        return [] if self.rows.features is not None else [self.rows.inputs[i] for i in index.tolist()]

    def _logits(self, index: torch.Tensor, inputs: Sequence[Inputs]) -> torch.Tensor:
        model: Model = self.model  # type: ignore[assignment]
        if self.rows.features is not None:
            return model.head(self.rows.features[index].to(self.device))
        batch = model.collate(inputs)
        with self.cache.replaying(inputs, batch) if self.cache else nullcontext(), self._half_precision():
            features = model.features(batch)
        return model.head(features.float())

    def _half_precision(self) -> torch.autocast:
        """For the backbone alone: the head tells classes apart by less than bfloat16 resolves."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.halves)

    def measure(self, watched: torch.Tensor) -> float:
        """Mean loss, without the terms against forgetting, of rows that are not learned; in eval mode."""
        with evaluating(self.model), torch.no_grad():
            parts = watched.split(self.config.batch_size)
            losses = [
                float(self._mean_loss(self._logits(index, self._inputs(index)), index)) * len(index) for index in parts
            ]
        return sum(losses) / len(watched)


@dataclass(slots=True, eq=False)
class _Best:
    """The tensors that move, as they were at the lowest watched loss."""

    moving: list[torch.Tensor]
    patience: Patience
    kept: list[torch.Tensor] = field(default_factory=list)

    def see(self, loss: float) -> None:
        if self.patience.improved(loss):
            self.kept = [tensor.detach().clone() for tensor in self.moving]

    def restore(self) -> None:
        with torch.no_grad():
            for tensor, kept in zip(self.moving, self.kept or self.moving, strict=True):
                tensor.copy_(kept)


def _part(rows: Rows, config: TrainConfig, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are learned, and those that are watched where the loop stops without progress."""
    counting = torch.nonzero(rows.weights > 0).flatten()
    if config.stop.patience is None:
        return counting, counting[:0]
    shuffled = counting[torch.randperm(len(counting), generator=generator)]
    few = len(shuffled) // WATCHED
    return shuffled[few:].sort().values, shuffled[:few].sort().values


def _smallest_batch(rows: int, size: int) -> int:
    return rows // math.ceil(rows / size) if rows else 0


def _prepare(model: nn.Module, names: set[str], *, alone: bool) -> dict[str, nn.Parameter]:
    """The chosen parameters; flags and modes are set for training."""
    named = _named(model, names)
    chosen = {id(parameter) for parameter in named.values()}
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad_(id(parameter) in chosen)
    _set_modes(model, chosen, training=False)
    if alone:
        # One row has no variance to normalise by.
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = False
    return named


def _named(model: nn.Module, names: Collection[str]) -> dict[str, nn.Parameter]:
    """The parameters of these names, a tied one under the first of its own."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    chosen: dict[int, str] = {}
    for name in sorted(names):
        chosen.setdefault(id(parameters[name]), name)
    return {name: parameters[name] for name in chosen.values()}


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


def _check(mean: float, named: dict[str, nn.Parameter], epoch: int) -> None:
    if not math.isfinite(mean) or not all(bool(torch.isfinite(p).all()) for p in named.values()):
        raise DivergedError(
            f"training diverged in epoch {epoch}: the loss or a weight is not finite",
            remedy="lower train.learning_rate",
        )
