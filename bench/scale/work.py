"""What one of several processes does: run by torchrun from ``bench.scale``, whose first process prints seconds as JSON.

torchrun --standalone --nproc-per-node 2 -m bench.scale.work PART [--quick]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.clinc import packaged_encoder
from dripstone.core import processes
from dripstone.core.config import Stop, TrainConfig
from dripstone.models import decoder, mlp, text_classifier
from dripstone.models.classifier import Classifier
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of
from dripstone.train.loop import run_loop
from dripstone.train.rows import Rows
from dripstone.train.statistics import add_rows, no_rows

Prepared = Callable[[], object]


def points(rows: int, columns: int, quick: bool) -> Prepared:
    """Features of new rows, which cost little here, sums over them, and the output layer."""
    rows, columns = (1500, 256) if quick else (rows, columns)
    model = mlp(64, hidden=[512, 512], random_features=columns)
    inputs = list(np.random.default_rng(0).normal(size=(rows, 64)).astype("f4"))
    return _closed_form(model, inputs)


def texts(quick: bool) -> Prepared:
    """The same of texts, whose features a sentence encoder of 22 million parameters makes."""
    draw = np.random.default_rng(0)
    words = ["".join(map(chr, draw.integers(97, 122, size=5))) for _ in range(500)]
    inputs = [" ".join(draw.choice(words, size=8)) for _ in range(40 if quick else 600)]
    return _closed_form(text_classifier(encoder=packaged_encoder()), inputs)


def _closed_form(model: Classifier, inputs: list[Any]) -> Prepared:
    targets, weights = torch.arange(len(inputs)) % 20, torch.ones(len(inputs))
    model.fit(inputs)
    model.head.fit(features_of(model, inputs[:500]))
    model.head.grow(20)

    def work() -> None:
        features = features_of(model, inputs)
        statistics = add_rows(no_rows(), model.head, features, targets, weights)
        fit_head(model.head, statistics, 1.0, features, targets, weights)

    return work


def loop_of_a_decoder(quick: bool) -> Prepared:
    """Steps of the decoder of ``bench.lm``, 16 windows of 128 tokens each."""
    model = decoder(width=192, depth=1 if quick else 6, heads=6, context=128, tokenizer="bytes")
    draw = np.random.default_rng(0)
    texts = ["".join(map(chr, draw.integers(97, 122, size=127))) for _ in range(16 if quick else 160)]
    ((windows, targets),) = model.windows([texts])
    return _steps(model, Rows(list(windows), targets, torch.ones(len(windows))), TrainConfig(batch_size=16))


def loop_of_a_perceptron(quick: bool) -> Prepared:
    """Steps of two milliseconds: 32 rows through two layers of 256."""
    rows = 320 if quick else 9600
    model = mlp(64, hidden=[256, 256], random_features=64)
    inputs = list(np.random.default_rng(0).normal(size=(rows, 64)).astype("f4"))
    model.fit(inputs)
    model.head.fit(features_of(model, inputs[:500]))
    model.head.grow(10)
    return _steps(model, Rows(inputs, torch.arange(rows) % 10, torch.ones(rows)), TrainConfig())


def _steps(model: torch.nn.Module, rows: Rows, config: TrainConfig) -> Prepared:
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    config = TrainConfig(batch_size=config.batch_size, stop=Stop(epochs=1))

    def work() -> None:
        for _ in run_loop(model, names, rows, config, "full"):
            pass

    return work


PARTS: dict[str, Callable[[bool], Prepared]] = {
    "closed form, 600 texts": texts,
    "closed form, 16,000 rows": partial(points, 16_000, 3000),
    "closed form, 64,000 rows": partial(points, 64_000, 3000),
    "loop, decoder": loop_of_a_decoder,
    "loop, perceptron": loop_of_a_perceptron,
}


def main() -> None:
    """Prepare, warm up, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with processes.joined():
        work = PARTS[options.part](options.quick)
        work()
        seconds = []
        for _ in range(options.rounds):
            processes.agree("start", "")  # all begin together
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        if processes.is_first():
            print(json.dumps(min(seconds)))


if __name__ == "__main__":
    main()
