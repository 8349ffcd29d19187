"""What the stream is measured against: training once, on all rows together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dripstone.core.examples import is_held_out
from dripstone.core.seeding import seeded
from dripstone.learner import Learner
from dripstone.stream.columns import to_inputs
from dripstone.tasks.classification import Classification, answers
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of, outputs_of
from dripstone.train.statistics import add_rows, no_rows
from dripstone.view.demo.stream import Row, Stream

EPOCHS = 60
HIDDEN = 256


@dataclass(frozen=True, slots=True)
class Joint:
    """Accuracy on all classes of two models that saw all rows at once, and how many rows that were."""

    rows: int
    closed_form: float
    network: float


def train_jointly(learner: Learner, stream: Stream) -> Joint:
    """Train on the rows that the learner trained on (none that it held out), all at once.

    Two ways: the learner's own model with its closed form, and a network with one hidden layer over the same features,
    trained with AdamW.
    """
    key, share = learner.repository.holdout_key, learner.config.gate.holdout
    rows = [
        row for stage in stream.stages for row in stage.rows if not is_held_out(key, to_inputs(row["input"], ""), share)
    ]
    task = Classification(()).grow(row["label"] for row in rows)
    model = stream.model()
    model.fit([to_inputs(row["input"], "") for row in rows])
    features, targets = _encode(model, rows, task)
    test, truth = _encode(model, stream.test, task)
    model.head.fit(features)
    model.head.grow(len(task.labels))
    ones = torch.ones(len(rows), dtype=torch.float64)
    statistics = add_rows(no_rows(), model.head, features, targets, ones)
    fit_head(model.head, statistics, float(model.head.penalty), features, targets, ones)
    closed_form = _accuracy(outputs_of(model, test), truth)
    return Joint(len(rows), closed_form, _network(features, targets, test, truth, len(task.labels)))


def _encode(model: nn.Module, rows: Sequence[Row], task: Classification) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = [to_inputs(row["input"], "") for row in rows]
    targets = torch.from_numpy(task.encode([row["label"] for row in rows]))
    return features_of(model, inputs), targets  # type: ignore[arg-type]


def _accuracy(logits: torch.Tensor, truth: torch.Tensor) -> float:
    return float((answers(logits) == truth.numpy()).mean())


def _network(
    features: torch.Tensor, targets: torch.Tensor, test: torch.Tensor, truth: torch.Tensor, classes: int
) -> float:
    with seeded(0):
        scale = features.std()
        network = nn.Sequential(nn.Linear(features.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        for _ in range(EPOCHS):
            for index in torch.randperm(len(targets)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(features[index] / scale), targets[index]).backward()
                optimizer.step()
        with torch.no_grad():
            return _accuracy(network(test / scale), truth)
