"""``low_rank:8`` and ``ladder:low_rank:8`` beside PEFT's own way: the same encoder, rows, layers, rank and passes.

    python -m bench.methods.peft_loop --data FOLDER [--seeds 3] [--labels 75] [--rows 30]

A sentence encoder learns intents of CLINC150 from nothing but its pretrained weights. The plain loop is what PEFT's
documentation shows: ``get_peft_model``, a linear layer on the mean of the tokens, AdamW, shuffled batches padded to
their longest row. Batches and schedule are the same for all. Each side has the learning rate that does best on
validation rows. CPU-s of an update hold all that it does besides: the closed form, the hearing on held-out rows, and
the version that is stored.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel, AutoTokenizer

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.learner import Learner
from dripstone.models import text_classifier
from dripstone.models.hub import quiet_transformers
from dripstone.select.low_rank import low_rank_layers
from dripstone.update.lineage import page_rows
from dripstone.view.output import table

EPOCHS, BATCH, RANK = 3, 32, 8
PEFT = "PEFT's loop"
RATES = {
    f"low_rank:{RANK}": (3e-5, 1e-4, 3e-4, 1e-3),
    f"ladder:low_rank:{RANK}": (3e-4, 1e-3, 3e-3),
    PEFT: (1e-3, 3e-3, 1e-2),
}
"""Learning rates that are tried for each side: its head is solved in closed form, or is trained from nothing."""

Pairs = list[tuple[str, str]]


class Best(NamedTuple):
    """One side at its best rate: accuracy on test rows, the rate, and CPU-s of the training."""

    accuracy: float
    rate: float
    seconds: float


class Plain(nn.Module):
    """An encoder with products beside its layers, and a linear layer on the mean of its tokens."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            encoder = AutoModel.from_pretrained(packaged_encoder())
            config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=low_rank_layers(encoder))
            self.encoder = get_peft_model(encoder, config)
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """[rows, labels] logits."""
        hidden, mask = self.encoder(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        return self.head((hidden * mask).sum(dim=1) / mask.sum(dim=1))


def learn_plainly(rows: Pairs, labels: list[str], rate: float, seed: int, *asked: Pairs) -> tuple[list[float], float]:
    """Accuracy on each group of rows that is asked, and CPU-s of the training."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(packaged_encoder())
    model, places = Plain(len(labels)), {label: place for place, label in enumerate(labels)}

    def batch_of(texts: list[str]) -> dict[str, torch.Tensor]:
        found = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    began = time.process_time()
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=rate)
    steps = EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    model.train()
    for _ in range(EPOCHS):
        for index in torch.randperm(len(rows)).split(BATCH):
            some = [rows[place] for place in index.tolist()]
            targets = torch.tensor([places[label] for _, label in some])
            loss = nn.functional.cross_entropy(model(batch_of([text for text, _ in some])), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    spent = time.process_time() - began
    model.eval()
    with torch.no_grad():
        answers = [
            [labels[int(model(batch_of([text])).argmax())] for text, _ in group]  # one at a time: no padding has a say
            for group in asked
        ]
    return [_share(some, group) for some, group in zip(answers, asked, strict=True)], spent


def _share(answers: list[str], rows: Pairs) -> float:
    return sum(answer == label for answer, (_, label) in zip(answers, rows, strict=True)) / len(rows)


def learn_by_update(
    selection: str, rows: Pairs, rate: float, seed: int, folder: Path, *asked: Pairs
) -> tuple[list[float], float, Pairs]:
    """The same of one update, and the rows that it has learned: some of them are held out."""
    settings = {
        "gate.mode": "off",
        "select.selection": selection,
        "train.learning_rate": rate,
        "train.stop.epochs": EPOCHS,
        "train.batch_size": BATCH,
        "train.step.schedule": "linear",
        "train.seed": seed,
    }
    learner = Learner.create(folder, model=text_classifier(packaged_encoder()), settings=settings)
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes([seed] * 32))
    update = learner.update([{"text": text, "label": label} for text, label in rows])
    assert update.version is not None
    learned = [row for row in page_rows(learner.repository, update.version) if row.role == "train"]
    shares = [_share(learner.predict([text for text, _ in group]), group) for group in asked]
    return shares, update.cost.cpu_seconds, [(str(row.inputs), str(row.target)) for row in learned]


def main() -> None:
    """Print a row a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=75)
    parser.add_argument("--rows", type=int, default=30, help="of each label")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print(header("bench.methods.peft_loop"), flush=True)
    splits = json.loads((options.data / "data_full.json").read_text())
    names = sorted({label for _, label in splits["train"]})
    found = []
    for seed in range(options.seeds):
        labels = [names[i] for i in np.random.default_rng(seed).permutation(len(names))[: options.labels]]
        rows, val, test = (_rows(splits[name], labels, options.rows) for name in ("train", "val", "test"))
        found.append(_compare(rows, val, test, labels, seed))
        print(f"seed {seed}: {', '.join(_cells(found[-1]))}", flush=True)
    heads = ["seed", *(head for side in RATES for head in (side, "its rate", "CPU-s"))]
    print(table(heads, [[str(seed), *_cells(sides)] for seed, sides in enumerate(found)]))
    for side in RATES:
        if side == PEFT:
            continue
        points = [100 * (sides[side].accuracy - sides[PEFT].accuracy) for sides in found]
        ratio = mean(sides[side].seconds / sides[PEFT].seconds for sides in found)
        each = ", ".join(f"{one:+.2f}" for one in points)
        print(f"{side}: {mean(points):+.2f} points ({each}; -0.5 is the goal), {ratio:.2f} of the CPU-s (1)")


def _cells(sides: dict[str, Best]) -> list[str]:
    return [cell for one in sides.values() for cell in (f"{one.accuracy:.4f}", f"{one.rate:g}", f"{one.seconds:.1f}")]


def _rows(split: list[list[str]], labels: list[str], most: int) -> Pairs:
    by_label: dict[str, Pairs] = {label: [] for label in labels}
    for text, label in split:
        if label in by_label and len(by_label[label]) < most:
            by_label[label].append((text, label))
    return [pair for pairs in by_label.values() for pair in pairs]


def _compare(rows: Pairs, val: Pairs, test: Pairs, labels: list[str], seed: int) -> dict[str, Best]:
    """Each side at the rate that is best on validation rows. PEFT's comes last: it gets what the updates learned."""
    best: dict[str, Best] = {}
    learned = rows
    for side, rates in RATES.items():
        tried = {}
        for rate in rates:
            if side == PEFT:
                shares, seconds = learn_plainly(learned, labels, rate, seed, val, test)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    project = Path(folder) / "project"
                    shares, seconds, learned = learn_by_update(side, rows, rate, seed, project, val, test)
            tried[rate] = shares, seconds
        rate = max(tried, key=lambda rate: tried[rate][0][0])
        (_, accuracy), seconds = tried[rate]
        best[side] = Best(accuracy, rate, seconds)
    return best


if __name__ == "__main__":
    main()
