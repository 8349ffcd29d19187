"""The constants of the closed-form head, one varied at a time: design note 005.

    python -m bench.head --data FOLDER [--encoder minilm]

CLINC150: accuracy on the validation rows, mean of three draws that leave a fifth of the training rows out. Digits:
leave-one-out accuracy on the training rows, mean of three splits. Scaling and kernel width are fitted on the first
stage's rows alone, as in a stream. No test row is looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.text import text_classifier
from dripstone.tasks.classification import Classification
from dripstone.train.features import features_of
from dripstone.view.demo.digits import digits_stream
from dripstone.view.output import table

WIDTH, PENALTY = 0.9, 0.05
DRAWS = 3


def expand(
    features: torch.Tensor, first: torch.Tensor, size: int, factor: float, linear: bool, seed: int
) -> torch.Tensor:
    """Expanded features and a constant 1; the width is ``factor`` of the median distance in ``first``."""
    head = Head(RandomFourierFeatures(features.shape[1], size, seed))
    head.fit(first)
    head.expansion.width.mul_(factor / WIDTH)
    with torch.no_grad():
        phi = head.expand(features).double()
    return torch.cat([phi if linear else phi[:, features.shape[1] :], torch.ones(len(phi), 1).double()], dim=1)


def ridge(phi: torch.Tensor, one_hot: torch.Tensor, penalty: float) -> torch.Tensor:
    """The closed form's solution."""
    system = phi.T @ phi + penalty * torch.eye(phi.shape[1], dtype=torch.float64)
    return torch.cholesky_solve(phi.T @ one_hot, torch.linalg.cholesky(system))


class Clinc:
    """Frozen features of CLINC150's training and validation rows."""

    def __init__(self, data: Path, encoder: str) -> None:
        splits = json.loads((data / "data_full.json").read_text())
        domains = json.loads((data / "domains.json").read_text())
        model = text_classifier(encoder=encoder)
        task = Classification(()).grow(label for _, label in splits["train"])
        self.classes = len(task.labels)
        self.train, self.val = (features_of(model, [text for text, _ in splits[name]]) for name in ("train", "val"))
        self.targets, self.truth = (
            torch.from_numpy(task.encode([label for _, label in splits[name]])) for name in ("train", "val")
        )
        first = task.encode(next(iter(domains.values())))
        self.first = torch.isin(self.targets, torch.from_numpy(first))

    def accuracy(self, size: int, factor: float, penalty: float, linear: bool) -> float:
        """Mean accuracy on the validation rows."""
        found = []
        for draw in range(DRAWS):
            kept = torch.rand(len(self.targets), generator=torch.Generator().manual_seed(draw)) > 0.2
            both = torch.cat([self.train[kept], self.val])
            phi = expand(both, self.train[kept & self.first], size, factor, linear, draw)
            one_hot = torch.nn.functional.one_hot(self.targets[kept], self.classes).double()
            rows = int(kept.sum())
            scores = phi[rows:] @ ridge(phi[:rows], one_hot, penalty)
            found.append(float((scores.argmax(1) == self.truth).double().mean()))
        return float(np.mean(found))


def digits_accuracy(size: int, factor: float, penalty: float, linear: bool) -> float:
    """Mean leave-one-out accuracy on the training rows."""
    found = []
    for seed in range(DRAWS):
        stream = digits_stream(seed)
        rows = [row for stage in stream.stages for row in stage.rows]
        model = stream.model()
        first = [row["input"] for row in stream.stages[0].rows]
        model.fit(first)
        features = features_of(model, [row["input"] for row in rows])
        targets = torch.tensor([row["label"] for row in rows])
        phi = expand(features, features[: len(first)], size, factor, linear, seed)
        kernel = phi @ phi.T
        hat = kernel @ torch.linalg.inv(kernel + penalty * torch.eye(len(kernel), dtype=torch.float64))
        one_hot = torch.nn.functional.one_hot(targets, 10).double()
        leverage = hat.diagonal()[:, None]
        left_out = (hat @ one_hot - leverage * one_hot) / (1 - leverage)
        found.append(float((left_out.argmax(1) == targets).double().mean()))
    return float(np.mean(found))


def main() -> None:
    """Print a row a choice; the first is the default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.head"))
    clinc = Clinc(options.data, packaged_encoder() if options.encoder == "minilm" else options.encoder)
    choices: dict[str, dict[str, float]] = {
        "default: width 0.9, penalty 0.05, D 4,096 / 1,024, linear part": {},
        "width 0.7": {"factor": 0.7},
        "width 1.1": {"factor": 1.1},
        "penalty 0.02": {"penalty": 0.02},
        "penalty 0.1": {"penalty": 0.1},
        "no linear part": {"linear": False},
        "D 2,048 / 512": {"times": 0.5},
        "D 6,144 / 1,536": {"times": 1.5},
    }
    rows = []
    for name, choice in choices.items():
        given = {"factor": WIDTH, "penalty": PENALTY, "linear": True} | choice
        times = given.pop("times", 1.0)
        on_text = clinc.accuracy(int(4096 * times), **given)
        on_digits = digits_accuracy(int(1024 * times), **given)
        rows.append([name, f"{on_text:.4f}", f"{on_digits:.4f}"])
    print(table(["choice", "CLINC150 validation", "digits leave-one-out"], rows))


if __name__ == "__main__":
    main()
