"""A candidate: the champion's fork, trained on the chosen rows."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dripstone.core.config import Config
from dripstone.core.errors import DivergedError, UsageError
from dripstone.core.events import Event, Trained
from dripstone.core.examples import Example
from dripstone.core.fork import fork
from dripstone.core.protocols import Model
from dripstone.core.records import Parameters, Rung
from dripstone.select.selection import Selection, parse_selection
from dripstone.tasks.classification import Classification
from dripstone.train.closed_form import Statistics, add_rows, fit_head
from dripstone.train.features import encode, features_of
from dripstone.train.loop import Rows, run_loop
from dripstone.update.batch import Batch
from dripstone.update.champion import Champion


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Features of a batch under the champion, [rows, features] float32 in the order of the batch's rows.

    ``starter`` is the fork that made them, with fitted preprocessing.
    """

    starter: nn.Module
    features: torch.Tensor

    def of(self, places: Sequence[int]) -> torch.Tensor:
        """Features of some rows."""
        return self.features[torch.tensor(places, dtype=torch.int64)]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A trained fork, not stored yet. ``statistics`` are those of its rows, where they are known."""

    model: Model
    task: Classification
    selection: Selection
    statistics: Statistics | None
    rung: Rung
    parameters: Parameters
    trained: int
    replayed: int


def choose_selection(config: Config, champion: Champion) -> Selection:
    """The configured selection; ``head`` is solved in closed form wherever every label has statistics."""
    selection = parse_selection(config.select.selection, "ridge" if champion.solvable else "adamw")
    if selection.method == "ridge" and not champion.solvable:
        raise UsageError(
            "the closed form needs rows of every label, and this model's output layer came with labels of its own",
            remedy="use head@adamw",
            kind="usage.selection",
        )
    return selection


def encode_batch(champion: Champion, selection: Selection, batch: Batch) -> Generator[Event, None, Encoding]:
    """The one forward pass over the new rows; on the first rows ever, preprocessing and kernel width are fitted."""
    module: nn.Module = champion.model  # type: ignore[assignment]
    starter: Model = fork(module, selection.parameters(module))  # type: ignore[assignment]
    starter.fit([row.inputs for row in batch.training()])
    features = yield from encode(starter, [row.example.inputs for row in batch.rows])
    encoding = Encoding(starter, features)  # type: ignore[arg-type]
    starter.head.fit(encoding.of(batch.places(held_out=False)))
    return encoding


def train_candidate(
    champion: Champion,
    selection: Selection,
    encoding: Encoding,
    batch: Batch,
    replay: Sequence[Example],
    statistics: Statistics | None,
    config: Config,
) -> Generator[Event, None, Candidate]:
    """Train a fork of the champion; yields progress.

    Parameters
    ----------
    champion : Champion
        It is only read.
    selection : Selection
        Which parameters may move, and how.
    encoding : Encoding
        Features of the batch under the champion.
    batch : Batch
        Its training rows that are not set aside.
    replay : sequence of Example
        Remembered rows, for the loop.
    statistics : Statistics or None
        Of all rows the champion was trained on; None where the closed form has no say.
    config : Config
        Its train section.
    """
    began = time.process_time()
    rows = batch.training()
    features = encoding.of(batch.places(held_out=False))
    task = champion.task.grow(row.target for row in rows if row.target is not None)
    names = selection.parameters(encoding.starter)
    model: Model = fork(encoding.starter, names)  # type: ignore[assignment]
    model.head.grow(len(task.labels))
    targets = torch.from_numpy(task.encode([row.target for row in rows]))
    weights = torch.tensor([row.weight for row in rows], dtype=torch.float64)
    if statistics is not None:
        statistics = add_rows(statistics, model.head, features, targets, weights)
        fit_head(model.head, statistics, config.train.ridge, features, targets, weights)
    replayed = 0
    if selection.method == "adamw":
        replayed = len(replay)
        yield from _loop(model, names, selection, task, rows, features, replay, config)
    if not (torch.isfinite(model.head.weight).all() and torch.isfinite(model.head.bias).all()):
        raise DivergedError(
            "the output layer holds numbers that are not finite",
            remedy="mend rows or model so that every feature is finite",
        )
    spent = time.process_time() - began
    yield Trained(str(selection), spent)
    return Candidate(
        model=model,
        task=task,
        selection=selection,
        statistics=statistics,
        rung=Rung(str(selection), None, spent),
        parameters=_count_parameters(model, names),  # type: ignore[arg-type]
        trained=len(rows),
        replayed=replayed,
    )


def _count_parameters(module: nn.Module, trained: Sequence[str]) -> Parameters:
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    return Parameters(trained=sum(sizes[name] for name in trained), total=sum(sizes.values()))


def _loop(
    model: Model,
    names: Sequence[str],
    selection: Selection,
    task: Classification,
    rows: Sequence[Example],
    features: torch.Tensor,
    replay: Sequence[Example],
    config: Config,
) -> Generator[Event, None, None]:
    everything = [*rows, *replay]
    head_only = selection.name == "head"
    if head_only and replay:
        features = torch.cat([features, features_of(model, [row.inputs for row in replay])])
    data = Rows(
        inputs=[row.inputs for row in everything],
        targets=torch.from_numpy(task.encode([row.target for row in everything])),
        weights=torch.tensor([row.weight for row in everything], dtype=torch.float64),
        features=features if head_only else None,
    )
    yield from run_loop(model, names, data, config.train, str(selection))  # type: ignore[arg-type]
