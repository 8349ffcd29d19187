"""Dripstone's closed form with another gate, or none: it tells what the gate adds."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from bench.poison.batches import Batch, Row
from bench.poison.features import Expanded, Features
from bench.poison.harm import Knowledge
from bench.poison.subject import ALWAYS, Reply
from dripstone.core.config import GateConfig
from dripstone.core.examples import is_held_out
from dripstone.models.head import PENALTY, Head, RandomFourierFeatures
from dripstone.tasks.classification import Classification
from dripstone.train.solve import solve
from dripstone.train.statistics import Statistics, add_rows, no_rows


class ClosedForm:
    """The same head as Dripstone's, over the same training rows.

    Parameters
    ----------
    asks : bool
        Live only if accuracy on held-out rows is not lower: those of all batches that were accepted, and of this one.
        Else every batch is live.
    """

    def __init__(self, features: Features, test: torch.Tensor, seed: int, random_features: int, *, asks: bool) -> None:
        self.name = "accuracy >=" if asks else "no gate"
        self._features, self._test, self._asks = features, Expanded(test), asks
        self._key, self._share, self._ridge = bytes([seed % 256] * 32), GateConfig().holdout, PENALTY
        self._task = Classification(())
        self._head = Head(RandomFourierFeatures(test.shape[1], random_features, seed))
        self._statistics: Statistics = no_rows()
        self._held_out: list[Row] = []
        self._expanded = torch.empty(0, self._head.expansion.size)

    def learn(self, batch: Batch) -> Reply:
        held_out = [row for row in batch.rows if is_held_out(self._key, row["input"], self._share)]
        ids = {row["id"] for row in held_out}
        training = [row for row in batch.rows if row["id"] not in ids]
        if not training:
            return Reply(False, "nothing", "every row is held out")
        task = self._task.grow(row["label"] for row in training)
        head, statistics = self._fit(training, task)
        reply = self._ask(held_out, task, head) if self._asks else ALWAYS
        if reply.promoted:
            self._task, self._head, self._statistics = task, head, statistics
        return reply

    def _fit(self, rows: Sequence[Row], task: Classification) -> tuple[Head, Statistics]:
        inputs, targets = self._encode(rows), torch.from_numpy(task.encode([row["label"] for row in rows]))
        weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
        head = copy.deepcopy(self._head)
        head.fit(inputs)
        head.grow(len(task.labels))
        statistics = add_rows(self._statistics, head, inputs, targets, weights)
        solution = solve(statistics, head, self._ridge)
        with torch.no_grad():  # the scale is left alone: it changes no answer
            head.weight.copy_(solution.weights[:-1].T)
            head.bias.copy_(solution.weights[-1])
        return head, statistics

    def _ask(self, held_out: Sequence[Row], task: Classification, head: Head) -> Reply:
        asked, expanded = [*self._held_out, *held_out], self._expanded
        if held_out:
            expanded = torch.cat([expanded, head.expand(self._encode(held_out)).detach()])
        before, after = _right(self._head, self._task, asked, expanded), _right(head, task, asked, expanded)
        reason = f"{after} right answers of {len(asked)}, {before} before"
        if after < before:
            return Reply(False, "refused", reason)
        self._held_out, self._expanded = asked, expanded
        return Reply(True, "live", reason)

    def _encode(self, rows: Sequence[Row]) -> torch.Tensor:
        return self._features.of([row["input"] for row in rows])

    def knowledge(self) -> Knowledge:
        return Knowledge([str(label) for label in self._task.labels], self._test.scores(self._head))


def _right(head: Head, task: Classification, rows: Sequence[Row], expanded: torch.Tensor) -> int:
    """Right answers; a label that the head does not know is a wrong one."""
    if not rows or not task.labels:
        return 0
    with torch.no_grad():
        best = nn.functional.linear(expanded, head.weight, head.bias).argmax(1)
    return int((best == torch.from_numpy(task.encode([row["label"] for row in rows]))).sum())
