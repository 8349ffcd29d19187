"""Finding wrong labels: rules on the same out-of-fold scores, and what the closed form is worth without what they find.

    python -m bench.noise --data FOLDER [--only clinc150,banking77] [--seed 0] [--encoder minilm]

Two streams of each data set: ``classes``, ten new ones a stage, and ``refresh``, a thousand rows of all classes a
stage. Labels are made wrong by drawing another one of the stage's. ``confident`` is confident learning's own rule
(arXiv 1911.00068, equation 1 and its thresholds): a label is wrong where another one's probability is above that
label's threshold, and it is the highest of those. ``drop`` and ``weigh`` are the policy's two forms, ``known`` leaves
out exactly the wrong ones. The head, of 1,024 random features, is solved in closed form over all rows that are left,
stage after stage; features are frozen. Accuracy is that on rows that validate; no test row is looked at. CPU-s are
those of scores and rule over the whole stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.clinc import packaged_encoder
from bench.refresh.data import CLASSES, FULL, concatenate, read_stream
from bench.report import header
from dripstone.curate.noise import wrong_label_probabilities
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.text import text_classifier
from dripstone.train.features import features_of
from dripstone.train.out_of_fold import out_of_fold_scores
from dripstone.view.output import table

SHARES = (0.0, 0.2, 0.4)
REFRESH = 1000
PENALTY = 0.05
RANDOM_FEATURES = 1024
STAGES = {"clinc150": 15, "banking77": 8}
SCALES = torch.logspace(0, 2.5, 41, dtype=torch.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Features of training and validation rows, their classes, and the training rows expanded by the head."""

    head: Head
    features: torch.Tensor
    targets: torch.Tensor
    phi: torch.Tensor
    val_phi: torch.Tensor
    val_targets: torch.Tensor
    classes: int

    def accuracy(self, solution: torch.Tensor) -> float:
        return float(((self.val_phi @ solution).argmax(1) == self.val_targets).double().mean())


class Sums:
    """What the closed form needs of the rows so far."""

    def __init__(self, data: Data) -> None:
        columns = data.phi.shape[1]
        self._data = data
        self._system = PENALTY * torch.eye(columns, dtype=torch.float64)
        self._targets = torch.zeros(columns, data.classes, dtype=torch.float64)

    def add(self, rows: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> None:
        """Rows that weigh nothing are as good as absent."""
        rows = rows[weights[rows] > 0]
        phi = self._data.phi[rows]
        weighted = phi * weights[rows][:, None]
        self._system += weighted.T @ phi
        self._targets += weighted.T @ torch.nn.functional.one_hot(labels[rows], self._data.classes).double()

    def solve(self) -> torch.Tensor:
        """The head, [D+1, classes]."""
        return torch.cholesky_solve(self._targets, torch.linalg.cholesky(self._system))


def load(folder: Path, name: str, encoder: str, seed: int) -> Data:
    """The encoder's features, and a head fitted to the first of them."""
    stream = read_stream(folder / name, STAGES[name], FULL, seed)
    rows = concatenate([stage.sent for stage in stream.stages])
    model = text_classifier(encoder=encoder)
    features, val = features_of(model, rows.texts), features_of(model, stream.val.texts)
    head = Head(RandomFourierFeatures(features.shape[1], RANDOM_FEATURES, seed))
    head.fit(features[:REFRESH])
    targets, val_targets = torch.from_numpy(rows.targets), torch.from_numpy(stream.val.targets)
    return Data(head, features, targets, _phi(head, features), _phi(head, val), val_targets, len(stream.labels))


def _phi(head: Head, features: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([head.expand(features).double(), torch.ones(len(features), 1).double()], dim=1)


def stages_of(data: Data, kind: str, seed: int) -> list[torch.Tensor]:
    """Which rows arrive together."""
    order = torch.randperm(len(data.targets), generator=torch.Generator().manual_seed(seed))
    if kind == "refresh":
        return list(order.split(REFRESH))
    return [order[data.targets[order] // CLASSES == number] for number in range(-(-data.classes // CLASSES))]


def make_wrong(data: Data, stages: Sequence[torch.Tensor], share: float, seed: int) -> torch.Tensor:
    """The labels, a share of which is another one of their stage's."""
    draw, labels = np.random.default_rng(seed), data.targets.clone()
    for rows in stages:
        there = data.targets[rows].unique().numpy()
        for row in rows[torch.from_numpy(draw.random(len(rows)) < share)].tolist():
            labels[row] = int(draw.choice(there[there != int(data.targets[row])]))
    return labels


def confident(scores: Sequence[np.ndarray], targets: np.ndarray) -> np.ndarray:
    """Confident learning's rule on the best calibrated of the scores: 1.0 where a label is wrong."""
    truth = torch.from_numpy(targets)
    cross_entropy = torch.nn.functional.cross_entropy
    candidates = (
        (float(cross_entropy(scale * one, truth)), scale * one)
        for one in map(torch.from_numpy, scores)
        for scale in SCALES
    )
    probabilities = torch.softmax(min(candidates, key=lambda pair: pair[0])[1], dim=1).numpy()
    thresholds = np.array(
        [
            probabilities[targets == label, label].mean() if (targets == label).any() else np.inf
            for label in range(probabilities.shape[1])
        ]
    )
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    return ((above.max(axis=1) >= 0) & (above.argmax(axis=1) != targets)).astype(np.float64)


RULES: dict[str, Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]] = {
    "confident": confident,
    "drop": wrong_label_probabilities,
    "weigh": wrong_label_probabilities,
}


def live(data: Data, stages: Sequence[torch.Tensor], labels: torch.Tensor, rule: str) -> tuple[torch.Tensor, float]:
    """Stage by stage: the champion of the rows so far, scores of the new ones, the rule. Weights of all rows, CPU-s."""
    weights = torch.ones(len(labels), dtype=torch.float64)
    known: list[int] = []
    sums, spent = Sums(data), 0.0
    for number, rows in enumerate(stages):
        logits = data.phi[rows] @ sums.solve()[:, known] if number else torch.empty(len(rows), 0)
        known += [label for label in labels[rows].unique().tolist() if label not in known]
        place = torch.full((data.classes,), -1).scatter(0, torch.tensor(known), torch.arange(len(known)))
        began = time.process_time()
        scores = out_of_fold_scores(data.head, data.features[rows], place[labels[rows]], logits, len(known))
        wrong = torch.from_numpy(RULES[rule]([one.numpy() for one in scores], place[labels[rows]].numpy()))
        spent += time.process_time() - began
        weights[rows] = 1 - wrong if rule == "weigh" else (wrong <= 0.5).double()
        sums.add(rows, labels, weights)
    return weights, spent


def rows_of(data: Data, name: str, seed: int) -> Iterator[list[str]]:
    """A row of the table for each stream, share and rule."""
    for kind in ("classes", "refresh"):
        stages = stages_of(data, kind, seed)
        for share in SHARES:
            labels = make_wrong(data, stages, share, seed)
            wrong = labels != data.targets
            for rule in ("none", *RULES, "known"):
                weights, spent = torch.ones(len(labels), dtype=torch.float64), 0.0
                if rule == "known":
                    weights = (~wrong).double()
                elif rule != "none":
                    weights, spent = live(data, stages, labels, rule)
                sums = Sums(data)
                sums.add(torch.cat(stages), labels, weights)
                found = weights < 0.5
                right = float((found & wrong).sum() / max(int(found.sum()), 1))
                recall = float((found & wrong).sum() / max(int(wrong.sum()), 1))
                yield [
                    name, kind, f"{share:.0%}", rule, f"{data.accuracy(sums.solve()):.4f}",
                    f"{float(found.double().mean()):.1%}",
                    f"{right:.2f}" if share else "-", f"{recall:.2f}" if share else "-", f"{spent:.1f}",
                ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(STAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default="minilm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.noise"), flush=True)
    encoder = packaged_encoder() if options.encoder == "minilm" else options.encoder
    found: list[list[str]] = []
    for name in options.only.split(","):
        data = load(options.data, name, encoder, options.seed)
        found += rows_of(data, name, options.seed)
    print(
        table(
            ["data", "stream", "wrong", "rule", "accuracy", "found", "of them wrong", "of wrong found", "CPU-s"], found
        )
    )


if __name__ == "__main__":
    main()
