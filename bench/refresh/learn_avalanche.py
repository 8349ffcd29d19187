"""Avalanche: DER++ (arXiv 2004.07211) and ER-ACE (arXiv 2104.05025) with 2,000 remembered rows, over the same network.

Avalanche takes tensors of one shape and adds no outputs for these strategies, so texts are padded to one length, which
the network cuts again for each batch, and the layer has all outputs from the start; answers are among the known
classes. Batches are as it makes them: 32 new rows and 32 remembered ones, not sorted by length.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.refresh.data import Rows, Stage, Stream
from bench.refresh.network import BATCH, Network, ask, float32_bytes

_PADDING = -1


class Avalanche:
    """One of its strategies.

    Parameters
    ----------
    strategy : str
        ``"DER++"`` or ``"ER-ACE"``.
    network : Network
        What it trains.
    stream : Stream
        All of it, since Avalanche wants to know the stages beforehand.
    rate, epochs
        Learning rate of AdamW, and passes a stage.
    """

    def __init__(self, strategy: str, network: Network, stream: Stream, rate: float, epochs: int) -> None:
        self.network = network
        network.grow(len(stream.labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._strategy = _make(strategy, network, rate, epochs, stream.scale.memory)
            self._experiences = iter(_experiences(network, stream))

    def learn(self, stage: Stage, known: int) -> tuple[int, str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._strategy.train(next(self._experiences))
        self.network.eval()
        return float32_bytes(self.network), ""

    def answer(self, texts: Sequence[str], known: int) -> np.ndarray:
        return ask(self.network, texts, known)


class _Padded(nn.Module):
    """The network, for token numbers that are padded with -1."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        mask = (numbers != _PADDING).long()
        longest = int(mask.sum(dim=1).max())
        batch = {"input_ids": numbers.clamp_min(0)[:, :longest], "attention_mask": mask[:, :longest]}
        return self.network(batch)


def _make(strategy: str, network: Network, rate: float, epochs: int, memory: int) -> Any:
    from avalanche.training.supervised import DER, ER_ACE

    common = {
        "model": _Padded(network),
        "optimizer": torch.optim.AdamW(network.parameters(), lr=rate),
        "mem_size": memory,
        "batch_size_mem": BATCH,
        "train_mb_size": BATCH,
        "train_epochs": epochs,
        "evaluator": None,
    }
    return DER(alpha=0.1, beta=0.5, **common) if strategy == "DER++" else ER_ACE(**common)


def import_torchvision() -> None:
    """Import it, also where its compiled operators are of another torch: Avalanche needs it and calls none of them.

    Transformers imports it too where it is installed, so this comes first.
    """
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def _experiences(network: Network, stream: Stream) -> Any:
    from avalanche.benchmarks import tensors_benchmark

    tensors = [_padded(network, stage.learned) for stage in stream.stages]
    longest = max(numbers.shape[1] for numbers, _ in tensors)
    tensors = [
        (nn.functional.pad(numbers, (0, longest - numbers.shape[1]), value=_PADDING), targets)
        for numbers, targets in tensors
    ]
    return tensors_benchmark(
        train_tensors=tensors, test_tensors=tensors[:1], task_labels=[0] * len(tensors)
    ).train_stream


def _padded(network: Network, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    batch = network.collate(rows.texts)
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, _PADDING), torch.from_numpy(rows.targets)
