from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError
from dripstone.core.examples import Inputs
from dripstone.serve.slot import Served
from dripstone.tasks.classification import Classification


class Sum(nn.Module):
    """Answers ``version-K`` with logit ``K`` for every row, and notes how many rows each forward pass had."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.batches: list[int] = []

    def collate(self, inputs: list[Inputs]) -> torch.Tensor:
        if any(isinstance(row, str) or row.shape != (2,) for row in inputs):
            raise DataError("a row is not two numbers", remedy="send two numbers", kind="data.shape")
        return torch.from_numpy(np.stack(inputs))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(batch))
        if (batch == 13).any():
            raise RuntimeError("secret detail")
        return torch.stack([batch.sum(dim=1) * 0 + self.value, torch.zeros(len(batch))], dim=1)


@pytest.fixture
def make_served() -> Callable[[int], Served]:
    def make(number: int) -> Served:
        version = f"{number:064x}"
        return Served(version, Sum(float(number)).eval(), Classification((f"version-{number}", "other")), number)

    return make


@pytest.fixture
def row() -> np.ndarray:
    return np.array([1.0, 2.0], dtype=np.float32)
