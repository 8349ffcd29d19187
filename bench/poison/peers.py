"""Learners by gradients that get the same batches, on the same frozen features."""

from __future__ import annotations

import importlib.util
import math
import random
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from bench.poison.batches import Batch, Row
from bench.poison.features import Features
from bench.poison.harm import Knowledge
from bench.poison.subject import ALWAYS, Reply
from dripstone.core.config import TrainConfig
from dripstone.core.seeding import seeded
from dripstone.curate.replay import remember
from dripstone.tasks.classification import Classification

MEMORY = 2000
RATE, EPOCHS, BATCH = 1e-3, 10, 32
"""Of the peers that learn by gradients."""


class Replay:
    """A plain replay loop: a linear layer, AdamW over the new rows and 2,000 remembered ones, always live."""

    name = "replay"

    def __init__(self, features: Features, test: torch.Tensor, seed: int) -> None:
        self._features, self._test, self._seed = features, _scaled(test), seed
        self._task = Classification(())
        self._layer: nn.Linear | None = None
        self._memory: list[Row] = []
        self._seen = 0

    def learn(self, batch: Batch) -> Reply:
        self._task = self._task.grow(row["label"] for row in batch.rows)
        layer = self._layer = _grown(self._layer, self._test.shape[1], len(self._task.labels), self._seed)
        rows = [*batch.rows, *self._memory]
        inputs, targets = _scaled(_encode(self._features, rows)), _targets(self._task, rows)
        weights = torch.tensor([row["weight"] for row in rows])
        optimizer = torch.optim.AdamW(layer.parameters(), lr=_rate(batch), fused=True)
        order = torch.Generator().manual_seed(self._seed + self._seen)
        for _ in range(EPOCHS):
            for index in torch.randperm(len(rows), generator=order).split(BATCH):
                losses = nn.functional.cross_entropy(layer(inputs[index]), targets[index], reduction="none")
                optimizer.zero_grad()
                (losses * weights[index]).mean().backward()
                optimizer.step()
        self._memory, self._seen = remember(self._memory, self._seen, batch.rows, MEMORY, self._seed)
        return ALWAYS

    def knowledge(self) -> Knowledge:
        if self._layer is None:
            return Knowledge([], torch.empty(len(self._test), 0))
        with torch.no_grad():
            return Knowledge(_names(self._task), self._layer(self._test))


class Clearn:
    """``clearn-ai``: its Dark Experience Replay with 2,000 rows and its other defaults, always live.

    It takes no weights, and no new outputs: the layer has one for every label of the whole life from the start.
    """

    name = "clearn"

    def __init__(self, features: Features, test: torch.Tensor, seed: int, labels: Sequence[str]) -> None:
        import clearn

        self._features, self._test, self._seed = features, _scaled(test), seed
        self._task = Classification(()).grow(labels)
        self._seen: set[str] = set()
        random.seed(seed)  # clearn draws from it
        with seeded(seed):
            self._layer = nn.Linear(test.shape[1], len(self._task.labels))
        self._model = clearn.wrap(self._layer, strategy="der", buffer_size=MEMORY)

    def learn(self, batch: Batch) -> Reply:
        self._seen |= {row["label"] for row in batch.rows}
        data = torch.utils.data.TensorDataset(
            _scaled(_encode(self._features, batch.rows)), _targets(self._task, batch.rows)
        )
        order = torch.Generator().manual_seed(self._seed)
        loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, generator=order)
        optimizer = torch.optim.AdamW(self._layer.parameters(), lr=_rate(batch))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model.fit(loader, optimizer, epochs=EPOCHS)
        return ALWAYS

    def knowledge(self) -> Knowledge:
        names = _names(self._task)
        seen = [place for place, name in enumerate(names) if name in self._seen]
        with torch.no_grad():
            return Knowledge([names[place] for place in seen], self._layer(self._test)[:, seen])


def missing_peers(names: Sequence[str]) -> dict[str, str]:
    """Peers that cannot run here, and what to install."""
    if "clearn" in names and importlib.util.find_spec("clearn") is None:
        return {"clearn": "it is not installed: pip install --no-deps clearn-ai"}
    return {}


def _encode(features: Features, rows: Sequence[Row]) -> torch.Tensor:
    return features.of([row["input"] for row in rows])


def _targets(task: Classification, rows: Sequence[Row]) -> torch.Tensor:
    return torch.from_numpy(task.encode([row["label"] for row in rows]))


def _names(task: Classification) -> list[str]:
    return [str(label) for label in task.labels]


def _scaled(features: torch.Tensor) -> torch.Tensor:
    """Rows of length 1 with numbers of about 1, as gradient steps like them."""
    return features * math.sqrt(features.shape[1])


def _rate(batch: Batch) -> float:
    """The peers' own rate, as many times too high as the batch says."""
    return RATE * batch.settings.get("train.learning_rate", TrainConfig().learning_rate) / TrainConfig().learning_rate


def _grown(layer: nn.Linear | None, inputs: int, outputs: int, seed: int) -> nn.Linear:
    """The same layer with more outputs."""
    with seeded(seed):
        wider = nn.Linear(inputs, outputs)
    if layer is not None:
        with torch.no_grad():
            wider.weight[: layer.out_features] = layer.weight
            wider.bias[: layer.out_features] = layer.bias
    return wider
