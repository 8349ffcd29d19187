"""Models in three parts that the tests of selectors need."""

from __future__ import annotations

from torch import nn


def parted(backbone: nn.Module, classes: int = 2) -> nn.Module:
    """A module with a backbone and a linear head over 4 features."""
    model = nn.Module()
    model.backbone = backbone
    model.head = nn.Linear(4, classes)
    return model
