"""Peers that move the encoder by gradients and remember 2,000 rows: all of it, or a low-rank part, or block by block.

The memory is the reservoir that Dripstone has, offered the same rows in the same order.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bench.refresh.data import Rows, Stage, concatenate
from bench.refresh.network import Network, ask, float32_bytes, load_network, run, steps_of, train
from dripstone.core.blocks import find_blocks
from dripstone.curate.replay import remember

Optimize = Callable[[Network, float, int], torch.optim.Optimizer]


class Replay:
    """A network that trains on new and remembered rows together.

    Parameters
    ----------
    network : Network
        What to train.
    optimize : callable
        Makes the optimiser of a stage from the network, the learning rate and the number of steps.
    rate, epochs, memory, seed
        Highest learning rate, passes a stage, rows remembered, order of the rows.
    """

    def __init__(self, network: Network, optimize: Optimize, rate: float, epochs: int, memory: int, seed: int) -> None:
        self.network, self._optimize = network, optimize
        self._rate, self._epochs, self._capacity, self._seed = rate, epochs, memory, seed
        self._memory: list[tuple[str, int]] = []
        self._seen = 0

    def learn(self, stage: Stage, known: int) -> tuple[int, str]:
        self.network.grow(known)
        remembered = Rows([text for text, _ in self._memory], np.array([t for _, t in self._memory], dtype=np.int64))
        rows = concatenate([stage.learned, remembered])
        with contextlib.redirect_stdout(io.StringIO()):  # BAdam prints every block that it turns to
            optimizer = self._optimize(self.network, self._rate, steps_of(len(rows), self._epochs))
            run(train(self.network, optimizer, rows, self._epochs, self._seed + self._seen))
        pairs = list(zip(stage.learned.texts, stage.learned.targets.tolist(), strict=True))
        self._memory, self._seen = remember(self._memory, self._seen, pairs, self._capacity, self._seed)
        return moved_bytes(self.network), f"{len(remembered)} rows replayed"

    def answer(self, texts: Sequence[str], known: int) -> np.ndarray:
        return ask(self.network, texts)


def adamw(network: Network, rate: float, steps: int) -> torch.optim.Optimizer:
    """Over all that may move."""
    return torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=rate)


def badam(network: Network, rate: float, steps: int) -> torch.optim.Optimizer:
    """BAdam (arXiv 2404.02827): AdamW over one block at a time, from the last to the first, each once; head always."""
    from badam import BlockOptimizer

    blocks = [[f"encoder.{path}."] for path in find_blocks(network.encoder)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the weights are float32
        return BlockOptimizer(
            base_optimizer=torch.optim.AdamW(network.parameters(), lr=rate),
            named_parameters_list=list(network.named_parameters()),
            block_prefix_list=blocks,
            switch_block_every=math.ceil(steps / len(blocks)),
            switch_mode="descending",
            active_modules=["head."],
        )


def load_lora(encoder: str, seed: int) -> Network:
    """The network with LoRA (arXiv 2106.09685) of rank 8 on query and value; nothing else moves but the head."""
    from peft import LoraConfig, get_peft_model

    network = load_network(encoder, seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about a name that peft still uses
        network.encoder = get_peft_model(network.encoder, config)
    return network


def moved_bytes(network: Network) -> int:
    """What a version of it takes on the disk: an adapter and the head, or everything."""
    adapter = [p for name, p in network.encoder.named_parameters() if "lora_" in name]
    if adapter:
        return sum(p.numel() * p.element_size() for p in adapter) + float32_bytes(network.head)
    return float32_bytes(network)
