"""What tuning two blocks is worth to labels that come later, by how many labels it has seen: design note 012.

    python -m bench.looks --data FOLDER [--encoder minilm] [--orders 4]

CLINC150, in the order of its domains and in orders that are drawn. Some labels come first; a thousand of their rows at
most tune the last two blocks, as the ladder does. Then the head is solved over the training rows of all 150 labels.
Accuracy is that on the validation rows; no test row is looked at. CPU-s are those of tuning alone.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.core.config import TrainConfig
from dripstone.core.fork import fork
from dripstone.core.parts import Chosen
from dripstone.core.protocols import Model
from dripstone.models.text import text_classifier
from dripstone.select.selection import parse_selection
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.cached_features import features_from
from dripstone.train.features import result_of
from dripstone.train.rows import Rows
from dripstone.train.solve import solve
from dripstone.train.statistics import add_rows, no_rows
from dripstone.train.tuning import tune, with_prototypes
from dripstone.update.ladder import TUNED_ROWS, evenly
from dripstone.view.output import table

SEEN = ((10,), (30,), (50,), (10, 50), (150,))
"""Labels that the blocks are tuned to, one after the other."""

BUDGET = 2**30
PENALTY = 0.05


class Clinc:
    """Training and validation rows, and a cache of what lies below the last two blocks."""

    def __init__(self, data: Path, encoder: str) -> None:
        splits = json.loads((data / "data_full.json").read_text())
        self.domains = [
            label for labels in json.loads((data / "domains.json").read_text()).values() for label in labels
        ]
        self.train, self.val = ([tuple(pair) for pair in splits[name]] for name in ("train", "val"))
        self.model: Model = text_classifier(encoder=encoder)  # type: ignore[assignment]
        selected = parse_selection("suffix:2").parameters(self.model)  # type: ignore[arg-type]
        self.names = [name for name in selected if not name.startswith("head.")]
        self.cache = ActivationCache(self.model, self.names, BUDGET)

    def accuracy(self, model: Model, labels: list[str]) -> float:
        """Of a head that is solved on the features that a model gives to all rows."""
        train, val = (features_from(model, [text for text, _ in part], self.cache) for part in (self.train, self.val))
        places = {label: place for place, label in enumerate(labels)}
        targets, truth = (torch.tensor([places[label] for _, label in part]) for part in (self.train, self.val))
        head = fork(self.model, []).head  # type: ignore[type-var]
        head.grow(len(labels))
        head.refit(train)
        solution = solve(add_rows(no_rows(), head, train, targets, torch.ones(len(train))), head, PENALTY)
        with torch.no_grad():
            head.weight.copy_(solution.weights[:-1].T)
            head.bias.copy_(solution.weights[-1])
            return float((head(val).argmax(dim=1) == truth).double().mean())

    def tuned(self, model: Model, labels: list[str]) -> Model:
        """A fork that has seen some rows of these labels."""
        places = {label: place for place, label in enumerate(labels)}
        rows = [(text, places[label]) for text, label in self.train if label in places]
        chosen = evenly(torch.tensor([target for _, target in rows]), TUNED_ROWS, seed=0).tolist()
        texts, targets = [rows[i][0] for i in chosen], torch.tensor([rows[i][1] for i in chosen])
        features = features_from(model, texts, self.cache)
        learned = Rows(texts, targets, torch.ones(len(texts)))
        began = with_prototypes(model, learned, features, len(labels))
        return result_of(tune(began, Chosen(self.names), learned, TrainConfig(), self.cache))[0]


def orders(domains: list[str], count: int) -> list[tuple[str, list[str]]]:
    """The labels as the domains have them, and drawn."""
    drawn = []
    for seed in range(1, count):
        labels = sorted(domains)
        random.Random(seed).shuffle(labels)
        drawn.append((f"drawn {seed}", labels))
    return [("domains", domains), *drawn]


def main() -> None:
    """Print a row an order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--orders", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.looks"), flush=True)
    clinc = Clinc(options.data, packaged_encoder() if options.encoder == "minilm" else options.encoder)
    as_it_comes = clinc.accuracy(clinc.model, clinc.domains)
    rows, spent = [], dict.fromkeys(SEEN, 0.0)
    for name, labels in orders(clinc.domains, options.orders):
        row = [name, f"{as_it_comes:.4f}"]
        for seen in SEEN:
            model, began = clinc.model, time.process_time()
            for count in seen:
                model = clinc.tuned(model, labels[:count])
            spent[seen] += time.process_time() - began
            row.append(f"{clinc.accuracy(model, labels):.4f}")
        rows.append(row)
    rows.append(["CPU-s, mean", "", *(f"{spent[seen] / options.orders:.1f}" for seen in SEEN)])
    print(table(["order", "as it comes", *(" then ".join(map(str, seen)) for seen in SEEN)], rows))


if __name__ == "__main__":
    main()
