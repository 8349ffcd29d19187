"""A candidate: the champion's fork, trained on the chosen rows."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import msgspec
import torch
from torch import nn

from dripstone.core.errors import DivergedError
from dripstone.core.events import Event, Trained
from dripstone.core.low_rank import Factors
from dripstone.core.parts import Chosen
from dripstone.core.protocols import Model, Task
from dripstone.core.records import Look, Parameters, Rung
from dripstone.core.tensors import RawTensor
from dripstone.curate.policy import parse_policy
from dripstone.select.selection import RIDGE, Selection
from dripstone.train.closed_form import fit_head
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.loop import run_loop
from dripstone.train.low_rank import adapted
from dripstone.train.statistics import Statistics, add_rows
from dripstone.update.choosing import Choice, choose
from dripstone.update.lesson import Lesson
from dripstone.update.loop_rows import rows_of


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A trained fork, not stored yet.

    ``statistics`` are those of every row so far under its own features, where they are known; ``optimizer`` is the
    state that its optimisers carry on. ``look`` is what the ladder found, where it had a say. ``rescaled`` says that
    the scale of the columns is a new one, so that features have moved though no parameter below the head has.
    ``factors`` are the products that were added to weights, where what has moved is of low rank. ``penalty`` is the one
    that the head was solved with, None where it was not.
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
    factors: dict[str, Factors] = field(default_factory=dict)
    penalty: float | None = None

    @property
    def keeps_features(self) -> bool:
        """Whether what is kept of rows is what it was: of texts nothing is, once any parameter has moved."""
        return self.selection.name == "head" and not self.rescaled and not self.task.texts


def train_candidate(lesson: Lesson, selection: Selection) -> Generator[Event, None, Candidate]:
    """Train a fork of the champion, which is only read; yields progress.

    The head is solved in closed form first, wherever that has a say; the loop goes on from there.
    """
    began = time.process_time()
    choice = choose(lesson, selection)
    model = lesson.fork(choice.whole.names)
    statistics = lesson.statistics if choice.solves_head else None
    if statistics is not None and not lesson.champion.task.labels:
        choose_hyperparameters(model.head, lesson.features, lesson.targets, lesson.weights, lesson.config.train.ridge)
    statistics, score = solve_head(lesson, model, statistics)
    learned = Learned()
    if selection.method != RIDGE:
        learned = yield from _loop(lesson, model, choice, selection)
    check_finite(model)
    spent = time.process_time() - began
    yield Trained(str(selection), spent)
    return Candidate(
        model=model,
        task=lesson.task,
        selection=selection,
        statistics=statistics if selection.name == "head" else None,
        rungs=[Rung(str(selection), score, spent)],
        parameters=count_parameters(model, choice.first, learned.factors),
        trained=len(lesson.rows),
        replayed=learned.replayed,
        optimizer=learned.optimizer,
        factors=learned.factors,
        penalty=None if statistics is None else penalty_of(lesson, model),
    )


def penalty_of(lesson: Lesson, model: Model) -> float:
    """The penalty of the closed form: the configured one, or that which the model was given with its first rows."""
    return lesson.config.train.ridge or float(model.head.penalty)


def solve_head(lesson: Lesson, model: Model, statistics: Statistics | None) -> tuple[Statistics | None, float | None]:
    """Solve a fork's head with the lesson's rows added; the new statistics, and how many rows the features serve."""
    if statistics is None:
        return None, None
    statistics = add_rows(statistics, model.head, lesson.features, lesson.targets, lesson.weights)
    score = fit_head(model.head, statistics, penalty_of(lesson, model), lesson.features, lesson.targets, lesson.weights)
    return statistics, score


def check_finite(model: Model) -> None:
    """Refuse a head that holds numbers that are not finite.

    Raises
    ------
    DivergedError
        If it does.
    """
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.head.parameters()):
        raise DivergedError(
            "the output layer holds numbers that are not finite",
            remedy="mend rows or model so that every feature is finite",
        )


def count_parameters(
    model: Model, chosen: Chosen | None = None, factors: Mapping[str, Factors] | None = None
) -> Parameters:
    """How many numbers move, those of factors in place of the weights that they are added to; and the whole model."""
    module: nn.Module = model  # type: ignore[assignment]
    named = dict(module.named_parameters())
    names, parts = chosen or Chosen([])
    moving = 0
    for name in names:
        if factors and name in factors:
            moving += sum(factor.size for factor in factors[name])
        else:
            moving += parts[name].of(named[name].detach()).numel() if name in parts else named[name].numel()
    return Parameters(trained=moving, total=sum(parameter.numel() for parameter in named.values()))


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What the loop leaves besides the weights."""

    replayed: int = 0
    optimizer: dict[str, RawTensor] = field(default_factory=dict)
    factors: dict[str, Factors] = field(default_factory=dict)


def _loop(lesson: Lesson, model: Model, choice: Choice, selection: Selection) -> Generator[Event, None, Learned]:
    names = choice.whole.names
    rows, cache = rows_of(lesson, model, names, head_only=selection.name == "head")
    config = msgspec.structs.replace(lesson.config.train, optimizer=selection.method)
    module: nn.Module = model  # type: ignore[assignment]
    policy = parse_policy(lesson.config.curate.policy)
    change = policy.augment.fit(model.preprocess) if policy.augment else None
    if selection.name == "low_rank":
        weights = [name for name in names if not name.startswith("head.")]
        head = [name for name in names if name.startswith("head.")]
        with adapted(module, weights, int(selection.argument or 0), config.seed) as products:
            moving = [*products.names, *head]
            yield from run_loop(module, moving, rows, config, str(selection), prune=policy.prune, change=change)
        return Learned(len(lesson.replay), factors=products.factors)
    optimizer = yield from run_loop(
        module,
        names,
        rows,
        config,
        str(selection),
        cache=cache,
        carried=lesson.carried,
        prune=policy.prune,
        change=change,
        parts=choice.whole.parts,
        rotation=choice.rotation,
    )
    return Learned(len(lesson.replay), optimizer)
