"""What the library's loop costs beside the model's forward, backward and step: the same batches through both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from bench.refresh.data import Rows
from bench.refresh.results import Overhead
from dripstone.core.config import Config
from dripstone.models.text import text_classifier
from dripstone.select.full import full
from dripstone.train import rows as loop_rows
from dripstone.train.loop import run_loop

BATCH, ROUNDS = 32, 5
_RATE = 1e-5

Batches = list[tuple[dict[str, torch.Tensor], torch.Tensor]]


def measure_overhead(encoder: str, rows: Rows, random_features: int = 4096, rounds: int = ROUNDS) -> Overhead:
    """The least CPU seconds of some rounds, in turn, of one epoch of ``full@adamw`` at batch 32.

    Parameters
    ----------
    encoder : str
        Folder of the encoder.
    rows : Rows
        What is learned; a multiple of 32 makes all batches full.
    random_features : int
        Of the head.
    rounds : int
        How often each is timed.
    """
    model = text_classifier(encoder=encoder, random_features=random_features)
    model.head.grow(int(rows.targets.max()) + 1)
    data = loop_rows.Rows(
        inputs=rows.texts, targets=torch.from_numpy(rows.targets), weights=torch.ones(len(rows)), features=None
    )
    batches = _batches_of(model, data)
    loop, bare = [], []
    for _ in range(rounds):
        loop.append(_timed_loop(model, data))
        bare.append(_timed_bare(model, batches))
    return Overhead(min(loop), min(bare), len(batches))


def _config() -> Any:
    given = {"train.learning_rate": _RATE, "train.batch_size": BATCH, "train.stop.epochs": 1}
    return Config().override(given).train


def _timed_loop(model: Any, data: loop_rows.Rows) -> float:
    began = time.process_time()
    for _ in run_loop(model, full(model), data, _config(), "full@adamw"):
        pass
    return time.process_time() - began


def _batches_of(model: Any, data: loop_rows.Rows) -> Batches:
    """The batches that the loop makes, as the model gets them."""
    places: dict[str, int] = {text: place for place, text in enumerate(data.inputs)}
    seen: Batches = []
    collate = model.collate

    def remembering(texts: Sequence[str]) -> dict[str, torch.Tensor]:
        batch = collate(texts)
        seen.append((batch, data.targets[[places[text] for text in texts]]))
        return batch

    model.collate = remembering
    try:
        _timed_loop(model, data)
    finally:
        del model.collate
    return seen


def _timed_bare(model: Any, batches: Batches) -> float:
    names = set(full(model))
    chosen = [parameter for name, parameter in model.named_parameters() if name in names]
    optimizer = torch.optim.AdamW(chosen, lr=_RATE)
    model.train()
    began = time.process_time()
    for batch, targets in batches:
        loss = torch.nn.functional.cross_entropy(model(batch), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    spent = time.process_time() - began
    model.eval()
    return spent
