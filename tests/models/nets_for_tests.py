"""Factories as a user writes them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from torch import nn

from dripstone.models import mlp
from dripstone.models.classifier import Classifier

if TYPE_CHECKING:
    from nowhere import Missing


def make(hidden: int = 8, classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def ready() -> Classifier:
    return mlp(inputs=4, random_features=8)


def not_annotated():
    raise AssertionError("this must not be called")


def annotated_otherwise() -> str:
    raise AssertionError("this must not be called")


def unresolved() -> Missing:
    raise AssertionError("this must not be called")


def fails() -> nn.Module:
    raise RuntimeError("no such luck")


def lies() -> nn.Module:
    return "a module"  # type: ignore[return-value]


partial = functools.partial(make, hidden=2)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 2)

    def forward(self, x):
        return self.fc(x)
