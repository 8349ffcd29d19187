"""The activation cache: CPU time of an epoch with and without it, beside its floor.

    python -m bench.activation_cache --data FOLDER [--rows 1000] [--epochs 4]

MiniLM and the last one or two of its six blocks, trained on rows of CLINC150 in batches of 32, texts of like length
together; both runs draw the same batches. The floor counts the work of the blocks alone. With q of L blocks trained, an
epoch without the cache is (L + 2q)/3L of one that trains everything, with it q/L; "of full" is measured against an
epoch of ``full`` in the same run. Filling the cache is a pass that an update makes anyway, over its new rows.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.core.blocks import find_blocks
from dripstone.core.fork import fork
from dripstone.models.classifier import Classifier
from dripstone.models.text import text_classifier
from dripstone.select.selection import parse_selection
from dripstone.tasks.classification import Classification
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.features import features_of
from dripstone.view.output import table

BATCH, POOL = 32, 10


class Run:
    """A fork of the model, trained on the same batches as every other run."""

    def __init__(self, model: Classifier, selection: str, texts: Sequence[str], targets: torch.Tensor) -> None:
        self.names = parse_selection(selection).parameters(model)
        self.model = fork(model, self.names)
        self.texts, self.targets = texts, targets
        parameters = dict(self.model.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self.names)
        for module in self.model.modules():
            module.training = any(parameter.requires_grad for parameter in module.parameters())
        self.optimizer = torch.optim.AdamW([parameters[name] for name in self.names], lr=1e-4)

    def epochs(self, count: int, cache: ActivationCache | None = None) -> float:
        """Train so many epochs; returns the CPU seconds of one."""
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        began = time.process_time()
        for _ in range(count):
            for index in batches(self.texts, generator):
                inputs = [self.texts[i] for i in index]
                batch = self.model.collate(inputs)
                with cache.replaying(inputs, batch) if cache else nullcontext():
                    loss = torch.nn.functional.cross_entropy(self.model(batch), self.targets[index])
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
        return (time.process_time() - began) / count


def batches(texts: Sequence[str], generator: torch.Generator) -> Iterator[list[int]]:
    """Shuffled batches; within pools of ten batches, texts of like length share one."""
    order = torch.randperm(len(texts), generator=generator).tolist()
    pools = [order[start : start + POOL * BATCH] for start in range(0, len(order), POOL * BATCH)]
    for pool in pools:
        pool.sort(key=lambda i: len(texts[i]))
    cut = [pool[start : start + BATCH] for pool in pools for start in range(0, len(pool), BATCH)]
    for place in torch.randperm(len(cut), generator=generator).tolist():
        yield cut[place]


def load(data: Path, rows: int) -> tuple[Classifier, list[str], torch.Tensor]:
    """The encoder with a head of all classes, and some training rows."""
    pairs = json.loads((data / "data_full.json").read_text("utf-8"))["train"]
    task = Classification(()).grow(label for _, label in pairs)
    random.Random(0).shuffle(pairs)
    texts = [text for text, _ in pairs[:rows]]
    targets = torch.from_numpy(task.encode([label for _, label in pairs[:rows]]))
    model = text_classifier(encoder=packaged_encoder())
    model.head.fit(features_of(model, texts[:100]))
    model.head.grow(len(task.labels))
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return model, texts, targets


def measure(
    model: Classifier, q: int, texts: Sequence[str], targets: torch.Tensor, epochs: int, full: float
) -> list[str]:
    """One row of the table: the last q blocks."""
    blocks = len(find_blocks(model.backbone))
    without, through = (Run(model, f"suffix:{q}", texts, targets) for _ in range(2))
    cache = ActivationCache(through.model, through.names)
    began = time.process_time()
    for _ in cache.fill(texts):
        pass
    filling = time.process_time() - began
    slow, fast = without.epochs(epochs), through.epochs(epochs, cache)
    if cache.reason is not None:
        raise SystemExit(f"the cache is off: {cache.reason}")
    apart = max(
        float((a - b).detach().abs().max())
        for a, b in zip(without.model.parameters(), through.model.parameters(), strict=True)
    )
    return [
        f"suffix:{q}",
        f"{slow:.2f}",
        f"{fast:.2f}",
        f"{fast / slow:.2f}",
        f"{3 * q / (blocks + 2 * q):.2f}",
        f"{fast / full:.2f}",
        f"{q / blocks:.2f}",
        f"{filling:.2f}",
        f"{(filling + epochs * fast) / (epochs * slow):.2f}",
        f"{apart:.0e}",
    ]


def main() -> None:
    """Print a row a selection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.activation_cache"))
    model, texts, targets = load(options.data, options.rows)
    full = Run(model, "full", texts, targets).epochs(1)
    rows = [measure(model, q, texts, targets, options.epochs, full) for q in (1, 2)]
    columns = ["selection", "without", "with", "ratio", "floor", "of full", "floor", "filling", "in all", "apart"]
    print(f"{len(texts):,} rows, {options.epochs} epochs; full: {full:.2f} CPU-s an epoch\n")
    print(table(columns, rows))
    print(
        "without, with: CPU-s an epoch; filling: CPU-s, once; in all: filling and all epochs with the cache against\n"
        "all epochs without; apart: the largest difference of two weights, trained with and without"
    )


if __name__ == "__main__":
    main()
