"""What the peers train: the same encoder, its mean-pooled output, a linear layer; and a plain loop over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from bench.refresh.data import Rows
from dripstone.models.text import text_classifier
from dripstone.train.batches import make_batches

BATCH = 32
WARMUP = 0.1
_ASKED = 64

Collate = Callable[[Sequence[str]], dict[str, torch.Tensor]]


class Network(nn.Module):
    """An encoder of sentences with a linear layer that grows."""

    def __init__(self, encoder: nn.Module, size: int, collate: Collate) -> None:
        super().__init__()
        self.encoder, self.collate = encoder, collate
        self.head = nn.Linear(size, 1)  # torch warns of layers without outputs
        self._known = 0

    def grow(self, classes: int) -> None:
        """Append outputs, with torch's own first values; the old ones stay."""
        known = self._known
        wider = nn.Linear(self.head.in_features, classes)
        with torch.no_grad():
            wider.weight[:known], wider.bias[:known] = self.head.weight[:known], self.head.bias[:known]
        self.head, self._known = wider, classes

    def pooled(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The mean over the tokens of each text, [rows, size]."""
        hidden = self.encoder(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, classes] logits."""
        return self.head(self.pooled(batch))


def load_network(encoder: str, seed: int) -> Network:
    """The encoder as Dripstone's own model loads it, without dripstone's head; every parameter may move."""
    torch.manual_seed(seed)
    classifier = text_classifier(encoder=encoder, random_features=1)
    inner = classifier.backbone.encoder
    return Network(inner, inner.config.hidden_size, classifier.collate)


def train(
    network: Network, optimizer: torch.optim.Optimizer, rows: Rows, epochs: int, seed: int, marks: Sequence[int] = ()
) -> Iterator[int]:
    """Train by cross-entropy: batches of 32 of like length, warm-up over a tenth of the steps, then linear decay to 0.

    Parameters
    ----------
    network : Network
        In train mode while this runs, in eval mode at every yield and at the end.
    optimizer : torch.optim.Optimizer
        Over what may move; its learning rate is the highest.
    rows : Rows
        What to learn.
    epochs, seed : int
        Passes over the rows, and the order of the batches.
    marks : sequence of int
        Steps, counted from 1, after which to pause.

    Yields
    ------
    int
        The number of steps so far, at each mark.
    """
    generator = torch.Generator().manual_seed(seed)
    targets, highest = torch.from_numpy(rows.targets), optimizer.param_groups[0]["lr"]
    steps = epochs * math.ceil(len(rows) / BATCH)
    done = 0
    network.train()
    for _ in range(epochs):
        for index in make_batches(rows.texts, torch.arange(len(rows)), BATCH, generator):
            for group in optimizer.param_groups:
                group["lr"] = highest * _factor(done, steps)
            logits = network(network.collate([rows.texts[place] for place in index.tolist()]))
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(logits, targets[index]).backward()
            optimizer.step()
            done += 1
            if done in marks:
                network.eval()
                yield done
                network.train()
    network.eval()


def run(steps: Iterator[int]) -> None:
    """To the end, without a pause."""
    for _ in steps:
        pass


def steps_of(rows: int, epochs: int) -> int:
    """Steps that training takes."""
    return epochs * math.ceil(rows / BATCH)


def _factor(step: int, steps: int) -> float:
    rise = max(1, round(WARMUP * steps))
    return (step + 1) / rise if step < rise else (steps - step) / (steps - rise + 1)


def ask(network: Network, texts: Sequence[str], known: int | None = None) -> np.ndarray:
    """The best of the first ``known`` classes for each text, [rows] int64."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    answers = np.empty(len(texts), dtype=np.int64)
    with torch.no_grad():
        for start in range(0, len(order), _ASKED):
            places = order[start : start + _ASKED]
            logits = network(network.collate([texts[place] for place in places]))
            answers[places] = logits[:, :known].argmax(dim=1).numpy()
    return answers


def float32_bytes(module: nn.Module) -> int:
    """Of its parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
