"""A lesson: what a candidate is trained on, and what the champion's backbone makes of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from dripstone.core import processes
from dripstone.core.config import Config
from dripstone.core.events import Event
from dripstone.core.examples import Content, Example
from dripstone.core.fork import fork
from dripstone.core.protocols import Model, Task
from dripstone.core.spacing import spaced
from dripstone.core.tensors import RawTensor
from dripstone.models.head import FIT_ROWS
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import encode_and_record, features_from
from dripstone.train.features import encode, features_of
from dripstone.train.statistics import Statistics
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
    inputs: Sequence[Content]
    features: torch.Tensor | None
    cache: ActivationCache | None = None

    def of(self, places: Sequence[int]) -> torch.Tensor:
        """Features of some rows."""
        if self.features is None:
            return self.encode([self.inputs[place] for place in places])
        return self.features[torch.tensor(places, dtype=torch.int64)]

    def encode(self, inputs: Sequence[Content]) -> torch.Tensor:
        """Features of any rows; computed, from the blocks above what the cache keeps of them."""
        model: Model = self.starter  # type: ignore[assignment]
        return features_of(model, inputs) if self.cache is None else features_from(model, inputs, self.cache)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a candidate is trained on.

    ``rows`` are the batch's training rows, with ``targets`` [rows] as ``task`` encodes them and ``weights``
    [rows] float64; ``known`` [rows, d] are their features under the champion, None where they are not computed yet.
    ``replay`` are remembered rows, ``statistics`` those of all rows the champion was trained on, None where the closed
    form has no say; ``carried`` is the state of the champion's optimisers. ``turn`` grows from update to update, for
    what takes turns.
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
    turn: int = 0

    @property
    def features(self) -> torch.Tensor:
        """[rows, d] float32, under the champion."""
        return self.encoding.encode([row.content for row in self.rows]) if self.known is None else self.known

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
        model.grow(len(self.task.labels))
        return model


def encode_batch(
    champion: Champion, batch: Batch, trains: Sequence[str] = (), *, whole: bool = True
) -> Generator[Event, None, Encoding]:
    """The one forward pass over the new rows; on the first rows ever, preprocessing and kernel width are fitted.

    ``trains`` are the parameters that the update may move, the head's aside: what lies below them is kept on the way.
    Where they will move, and nothing else is done with the features, the pass need not be ``whole``: it ends there.
    """
    module: nn.Module = champion.model  # type: ignore[assignment]
    starter: Model = fork(module, trains)  # type: ignore[assignment]
    starter.fit([row.content for row in batch.training()])
    if champion.task.texts:
        batch.reject(starter.preprocess.refusals([row.example.content for row in batch.rows]))
    inputs = [row.example.content for row in batch.rows]
    if champion.task.texts:  # how likely they are is found out where it is asked; the loop packs them as it needs
        return Encoding(starter, inputs, None)  # type: ignore[arg-type]
    cache = ActivationCache(starter, trains) if trains else None
    features = None
    if cache is not None and cache.reason is None and not whole:
        yield from cache.fill(processes.own(inputs))
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
    turn: int = 0,
) -> Lesson:
    """What a candidate learns from a batch: its training rows that are not set aside."""
    rows = batch.training()
    task = champion.task.grow(row.target for row in rows)
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
        turn=turn,
    )


def training_weights(rows: Sequence[Example]) -> torch.Tensor:
    """What rows count in training, [rows] float64."""
    return torch.tensor([row.training_weight for row in rows], dtype=torch.float64)
