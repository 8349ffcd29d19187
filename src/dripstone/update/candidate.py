"""A candidate: the champion's fork, trained on the chosen rows."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import torch
from torch import nn

from dripstone.core.config import Config
from dripstone.core.errors import DivergedError, UsageError
from dripstone.core.events import Event, Trained
from dripstone.core.examples import Example, Inputs
from dripstone.core.fork import fork
from dripstone.core.protocols import Model, Task
from dripstone.core.records import Look, Parameters, Rung
from dripstone.core.spacing import spaced
from dripstone.core.tensors import RawTensor
from dripstone.curate.policy import Policy, parse_policy
from dripstone.models.head import FIT_ROWS
from dripstone.select.selection import LADDER, RIDGE, Selection, parse_selection
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import encode_and_record, features_from
from dripstone.train.closed_form import fit_head
from dripstone.train.features import encode, features_of, head_logits
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.loop import run_loop
from dripstone.train.optimizers import check_optimizer
from dripstone.train.rows import Rows
from dripstone.train.statistics import Statistics, add_rows
from dripstone.update.batch import Batch
from dripstone.update.champion import Champion


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """What the champion's backbone makes of a batch.

    ``starter`` is the fork that made it, with fitted preprocessing; ``inputs`` are those of the batch's rows in their
    order, and ``features`` [rows, features] float32 what came out. ``cache`` has kept what its frozen blocks made of
    them, where blocks are to be trained. Features that nobody may need are None, and come from the cache if asked for.
    """

    starter: nn.Module
    inputs: Sequence[Inputs]
    features: torch.Tensor | None
    cache: ActivationCache | None = None

    def of(self, places: Sequence[int]) -> torch.Tensor:
        """Features of some rows."""
        if self.features is None:
            return self.encode([self.inputs[place] for place in places])
        return self.features[torch.tensor(places, dtype=torch.int64)]

    def encode(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """Features of any rows; computed, from the blocks above what the cache keeps of them."""
        model: Model = self.starter  # type: ignore[assignment]
        return features_of(model, inputs) if self.cache is None else features_from(model, inputs, self.cache)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a candidate is trained on.

    ``rows`` are the batch's training rows, with ``targets`` [rows] as ``task`` encodes them and ``weights``
    [rows] float64; ``known`` [rows, d] are their features under the champion, None where they are not computed yet.
    ``replay`` are remembered rows, ``statistics`` those of all rows the champion was trained on, None where the closed
    form has no say; ``carried`` is the state of the champion's optimisers.
    """

    champion: Champion
    encoding: Encoding
    task: Task
    rows: Sequence[Example]
    known: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor
    replay: Sequence[Example]
    statistics: Statistics | None
    config: Config
    carried: dict[str, RawTensor] = field(default_factory=dict)

    @property
    def features(self) -> torch.Tensor:
        """[rows, d] float32, under the champion."""
        return self.encoding.encode([row.inputs for row in self.rows]) if self.known is None else self.known

    def part(self, places: torch.Tensor) -> Lesson:
        """The same lesson with some of the rows."""
        return replace(
            self,
            rows=[self.rows[i] for i in places.tolist()],
            known=None if self.known is None else self.known[places],
            targets=self.targets[places],
            weights=self.weights[places],
        )

    def fork(self, names: Sequence[str]) -> Model:
        """The champion's fork over some parameters, with room for the new labels."""
        model: Model = fork(self.encoding.starter, names)  # type: ignore[assignment]
        model.head.grow(len(self.task.labels))
        return model


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A trained fork, not stored yet.

    ``statistics`` are those of every row so far under its own features, where they are known; ``optimizer`` is the
    state that its optimisers carry on. ``look`` is what the ladder found, where it had a say. ``rescaled`` says that
    the scale of the columns is a new one, so that features have moved though no parameter below the head has.
    """

    model: Model
    task: Task
    selection: Selection
    statistics: Statistics | None
    rungs: list[Rung]
    parameters: Parameters
    trained: int
    replayed: int
    optimizer: dict[str, RawTensor] = field(default_factory=dict)
    look: Look | None = None
    rescaled: bool = False

    @property
    def keeps_features(self) -> bool:
        """Whether the features are those that the batch was encoded to."""
        return self.selection.name == "head" and not self.rescaled


def choose_selection(config: Config, champion: Champion) -> Selection:
    """The configured selection; ``head`` is solved in closed form wherever every label has statistics.

    Raises
    ------
    UsageError
        If a word is not known, or asks for what this model or the configuration cannot give.
    """
    optimizer = config.train.optimizer
    selection = parse_selection(config.select.selection, RIDGE if champion.solvable else optimizer, optimizer)
    if selection.name == LADDER and not champion.solvable:
        selection = Selection("head", None, optimizer)  # without statistics there is no first rung to climb from
    if selection.method == RIDGE and not champion.solvable:
        raise UsageError(
            "the closed form needs rows of every label, and this model's output layer came with labels of its own",
            remedy=f"use head@{optimizer}",
            kind="usage.selection",
        )
    if selection.method != RIDGE:
        check_optimizer(selection.method or optimizer)
    policy = parse_policy(config.curate.policy)
    _check_task(config, policy, champion.task)
    _check_loop_policies(policy, selection, champion.model)
    retain = config.train.retain
    if (retain.ewc or retain.derpp) and not policy.replay.capacity:
        raise UsageError(
            "train.retain.ewc and train.retain.derpp hold what replayed rows say, and no rows are remembered",
            remedy="set curate.policy to screen+replay:2000, or use train.retain.distill or l2",
            kind="usage.retain",
        )
    return selection


def _check_task(config: Config, policy: Policy, task: Task) -> None:
    """Refuse what asks for labels where there are numbers, and the other way round, instead of passing it over."""
    if config.task.metric not in task.metrics:
        raise UsageError(
            f"the metric {config.task.metric!r} does not measure {task.kind}",
            remedy=f"set task.metric to {' or '.join(task.metrics)}",
            kind="usage.metric",
        )
    if not task.numbers:
        return
    known, kept = policy.screen.known and policy.screen, policy.replay.law != "reservoir" and policy.replay
    for named in (known, policy.noise, policy.weight, kept):
        if named:
            raise UsageError(
                f"{named} goes by labels, and the targets are numbers",
                remedy="leave it out of curate.policy",
                kind="usage.curate",
            )
    retain = config.train.retain
    if retain.distill or retain.derpp:
        raise UsageError(
            "train.retain.distill and train.retain.derpp hold the scores of labels, and the targets are numbers",
            remedy="use train.retain.ewc or l2, or replay alone",
            kind="usage.retain",
        )


def _check_loop_policies(policy: Policy, selection: Selection, model: Model) -> None:
    """Refuse policies of the loop where there is none, instead of passing them over."""
    for named in (policy.prune, policy.augment):
        if named and (selection.method == RIDGE or selection.name == LADDER):
            raise UsageError(
                f"{named} acts in the epochs of the loop, and {selection} learns in closed form",
                remedy="use a selection that trains in the loop, as suffix:1, or leave the policy out",
                kind="usage.curate",
            )
    if policy.forget and not (selection.method == RIDGE or selection.name == LADDER):
        raise UsageError(
            f"{policy.forget} acts in the closed form, and {selection} learns in the loop",
            remedy="use head or ladder, or leave the policy out",
            kind="usage.curate",
        )
    if policy.augment:
        policy.augment.fit(model.preprocess)


def encode_batch(
    champion: Champion, batch: Batch, trains: Sequence[str] = (), *, whole: bool = True
) -> Generator[Event, None, Encoding]:
    """The one forward pass over the new rows; on the first rows ever, preprocessing and kernel width are fitted.

    ``trains`` are the parameters that the update may move, the head's aside: what lies below them is kept on the way.
    Where they will move, and nothing else is done with the features, the pass need not be ``whole``: it ends there.
    """
    module: nn.Module = champion.model  # type: ignore[assignment]
    starter: Model = fork(module, trains)  # type: ignore[assignment]
    starter.fit([row.inputs for row in batch.training()])
    inputs = [row.example.inputs for row in batch.rows]
    cache = ActivationCache(starter, trains) if trains else None
    features = None
    if cache is not None and cache.reason is None and not whole:
        yield from cache.fill(inputs)
    else:
        features = yield from encode(starter, inputs) if cache is None else encode_and_record(starter, inputs, cache)
    encoding = Encoding(starter, inputs, features, cache)  # type: ignore[arg-type]
    trained = batch.places(held_out=False)
    starter.head.fit(encoding.of([trained[place] for place in spaced(len(trained), FIT_ROWS).tolist()]))
    return encoding


def make_lesson(
    champion: Champion,
    encoding: Encoding,
    batch: Batch,
    replay: Sequence[Example],
    statistics: Statistics | None,
    config: Config,
    carried: dict[str, RawTensor] | None = None,
) -> Lesson:
    """What a candidate learns from a batch: its training rows that are not set aside."""
    rows = batch.training()
    task = champion.task.grow(row.target for row in rows if row.target is not None)
    return Lesson(
        champion=champion,
        encoding=encoding,
        task=task,
        rows=rows,
        known=None if encoding.features is None else encoding.of(batch.places(held_out=False)),
        targets=torch.from_numpy(task.encode([row.target for row in rows])),
        weights=training_weights(rows),
        replay=replay,
        statistics=statistics,
        config=config,
        carried=carried or {},
    )


def training_weights(rows: Sequence[Example]) -> torch.Tensor:
    """What rows count in training, [rows] float64."""
    return torch.tensor([row.training_weight for row in rows], dtype=torch.float64)


def train_candidate(lesson: Lesson, selection: Selection) -> Generator[Event, None, Candidate]:
    """Train a fork of the champion, which is only read; yields progress.

    The head is solved in closed form first, wherever that has a say; the loop goes on from there.
    """
    began = time.process_time()
    names = selection.parameters(lesson.encoding.starter)
    model = lesson.fork(names)
    if lesson.statistics is not None and not lesson.champion.task.labels:
        choose_hyperparameters(model.head, lesson.features, lesson.targets, lesson.weights, lesson.config.train.ridge)
    statistics, score = solve_head(lesson, model, lesson.statistics)
    replayed, optimizer = 0, {}
    if selection.method != RIDGE:
        replayed = len(lesson.replay)
        optimizer = yield from _loop(lesson, model, names, selection)
    check_finite(model)
    spent = time.process_time() - began
    yield Trained(str(selection), spent)
    return Candidate(
        model=model,
        task=lesson.task,
        selection=selection,
        statistics=statistics if selection.name == "head" else None,
        rungs=[Rung(str(selection), score, spent)],
        parameters=count_parameters(model, names),
        trained=len(lesson.rows),
        replayed=replayed,
        optimizer=optimizer,
    )


def solve_head(lesson: Lesson, model: Model, statistics: Statistics | None) -> tuple[Statistics | None, float | None]:
    """Solve a fork's head with the lesson's rows added; the new statistics, and how many rows the features serve."""
    if statistics is None:
        return None, None
    statistics = add_rows(statistics, model.head, lesson.features, lesson.targets, lesson.weights)
    penalty = lesson.config.train.ridge or float(model.head.penalty)
    score = fit_head(model.head, statistics, penalty, lesson.features, lesson.targets, lesson.weights)
    return statistics, score


def check_finite(model: Model) -> None:
    """Refuse a head that holds numbers that are not finite.

    Raises
    ------
    DivergedError
        If it does.
    """
    if not (torch.isfinite(model.head.weight).all() and torch.isfinite(model.head.bias).all()):
        raise DivergedError(
            "the output layer holds numbers that are not finite",
            remedy="mend rows or model so that every feature is finite",
        )


def count_parameters(model: Model, trained: Sequence[str]) -> Parameters:
    """How many numbers the named parameters hold, and the whole model."""
    module: nn.Module = model  # type: ignore[assignment]
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return Parameters(trained=sum(sizes[name] for name in trained), total=sum(sizes.values()))


def _loop(
    lesson: Lesson, model: Model, names: Sequence[str], selection: Selection
) -> Generator[Event, None, dict[str, RawTensor]]:
    train = lesson.config.train
    retain = train.retain
    head_only = selection.name == "head"
    old_logits = bool(lesson.champion.task.labels) and bool(retain.distill or retain.derpp)
    fixed = head_only and not parse_policy(lesson.config.curate.policy).augment
    features = _all_features(lesson) if fixed or old_logits else None
    rows = Rows(
        inputs=[row.inputs for row in [*lesson.rows, *lesson.replay]],
        targets=torch.cat([lesson.targets, torch.from_numpy(lesson.task.encode([r.target for r in lesson.replay]))]),
        weights=torch.cat([lesson.weights, training_weights(lesson.replay)]),
        features=features if fixed else None,
        replayed=torch.arange(len(lesson.rows) + len(lesson.replay)) >= len(lesson.rows),
        known=len(lesson.champion.task.labels),
        champion_logits=head_logits(lesson.champion.model, features) if old_logits and features is not None else None,
        losses=lesson.task.of(model).losses,
    )
    cache = lesson.encoding.cache
    if cache is not None:
        cache.attach(model)
    config = msgspec.structs.replace(train, optimizer=selection.method)
    module: nn.Module = model  # type: ignore[assignment]
    policy = parse_policy(lesson.config.curate.policy)
    return (
        yield from run_loop(
            module,
            names,
            rows,
            config,
            str(selection),
            cache=cache,
            carried=lesson.carried,
            prune=policy.prune,
            change=policy.augment.fit(model.preprocess) if policy.augment else None,
        )
    )


def _all_features(lesson: Lesson) -> torch.Tensor:
    """The champion's features of new and replayed rows."""
    if not lesson.replay:
        return lesson.features
    return torch.cat([lesson.features, lesson.encoding.encode([row.inputs for row in lesson.replay])])
