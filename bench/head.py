"""The constants of the closed-form head, one varied at a time: design note 005.

    python -m bench.head --data FOLDER [--encoder minilm]

CLINC150: accuracy on the validation rows, mean of three draws that leave a fifth of the training rows out. Digits:
leave-one-out accuracy on the training rows, mean of three splits. Scaling and kernel width are fitted on the first
stage's rows alone, as in a stream. No test row is looked at.

A second table has width and penalty chosen by leave-one-out on the first stage's rows, for each of five stages that may
come first: with the labels as they are, and with a fifth of them shuffled among the training rows of their stage.
Accuracy is that on the true labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.clinc import packaged_encoder
from bench.report import header
from dripstone.models.head import Head, RandomFourierFeatures
from dripstone.models.text import text_classifier
from dripstone.tasks.classification import Classification
from dripstone.train.features import features_of
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.view.demo.digits import digits_stream
from dripstone.view.output import table

WIDTH, PENALTY = 0.9, 0.05
DRAWS = 3
FIRST_STAGES = 5
SHUFFLED = 0.2


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


def choose(first: torch.Tensor, targets: torch.Tensor, size: int, seed: int) -> tuple[float, float]:
    """Width, as a share of the median distance, and penalty, chosen on the first stage's rows."""
    head = Head(RandomFourierFeatures(first.shape[1], size, seed))
    head.fit(first)
    fitted = float(head.expansion.width)
    choose_hyperparameters(head, first, targets.unique(return_inverse=True)[1], torch.ones(len(first)))
    return WIDTH * float(head.expansion.width) / fitted, float(head.penalty)


def ridge(phi: torch.Tensor, one_hot: torch.Tensor, penalty: float) -> torch.Tensor:
    """The closed form's solution."""
    system = phi.T @ phi + penalty * torch.eye(phi.shape[1], dtype=torch.float64)
    return torch.cholesky_solve(phi.T @ one_hot, torch.linalg.cholesky(system))


def shuffle(targets: torch.Tensor, stages: Sequence[torch.Tensor], share: float, seed: int) -> torch.Tensor:
    """The targets, a share of which is shuffled among the rows of the same stage; ``stages`` are their classes."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = targets.clone()
    for classes in stages:
        rows = torch.nonzero(torch.isin(targets, classes)).flatten()
        rows = rows[torch.rand(len(rows), generator=generator) < share]
        shuffled[rows] = targets[rows[torch.randperm(len(rows), generator=generator)]]
    return shuffled


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
        self.stages = [torch.from_numpy(task.encode(intents)) for intents in domains.values()]

    def accuracy(
        self,
        draw: int,
        first: int,
        size: int,
        factor: float,
        penalty: float,
        linear: bool = True,
        share: float = 0.0,
    ) -> float:
        """Accuracy on the validation rows."""
        kept = _draw(draw, len(self.targets))
        both = torch.cat([self.train[kept], self.val])
        phi = expand(both, self.train[kept & self._of(first)], size, factor, linear, draw)
        targets = shuffle(self.targets, self.stages, share, draw)[kept]
        one_hot = torch.nn.functional.one_hot(targets, self.classes).double()
        rows = int(kept.sum())
        scores = phi[rows:] @ ridge(phi[:rows], one_hot, penalty)
        return float((scores.argmax(1) == self.truth).double().mean())

    def choose(self, draw: int, first: int, size: int, share: float) -> tuple[float, float]:
        """Width and penalty, chosen on the first stage's rows."""
        rows = _draw(draw, len(self.targets)) & self._of(first)
        return choose(self.train[rows], shuffle(self.targets, self.stages, share, draw)[rows], size, draw)

    def _of(self, first: int) -> torch.Tensor:
        return torch.isin(self.targets, self.stages[first])


def _draw(seed: int, rows: int) -> torch.Tensor:
    return torch.rand(rows, generator=torch.Generator().manual_seed(seed)) > 0.2


class Digits:
    """Features of scikit-learn's digits, scaled by the stage that comes first."""

    stages = torch.arange(10).reshape(5, 2).unbind()

    def accuracy(
        self,
        draw: int,
        first: int,
        size: int,
        factor: float,
        penalty: float,
        linear: bool = True,
        share: float = 0.0,
    ) -> float:
        """Leave-one-out accuracy on the training rows."""
        features, targets, known = self._stream(draw, first)
        phi = expand(features, features[known], size, factor, linear, draw)
        kernel = phi @ phi.T
        hat = kernel @ torch.linalg.inv(kernel + penalty * torch.eye(len(kernel), dtype=torch.float64))
        one_hot = torch.nn.functional.one_hot(shuffle(targets, self.stages, share, draw), 10).double()
        leverage = hat.diagonal()[:, None]
        left_out = (hat @ one_hot - leverage * one_hot) / (1 - leverage)
        return float((left_out.argmax(1) == targets).double().mean())

    def choose(self, draw: int, first: int, size: int, share: float) -> tuple[float, float]:
        """Width and penalty, chosen on the first stage's rows."""
        features, targets, known = self._stream(draw, first)
        return choose(features[known], shuffle(targets, self.stages, share, draw)[known], size, draw)

    def _stream(self, draw: int, first: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features and targets of all rows, and which rows come first."""
        stream = digits_stream(draw)
        model = stream.model()
        model.fit([row["input"] for row in stream.stages[first].rows])
        rows = [row for stage in stream.stages for row in stage.rows]
        targets = torch.tensor([row["label"] for row in rows])
        return features_of(model, [row["input"] for row in rows]), targets, torch.isin(targets, self.stages[first])


def _mean(accuracy: Callable[..., float], *arguments: float, **named: float) -> float:
    return float(np.mean([accuracy(draw, 0, *arguments, **named) for draw in range(DRAWS)]))


def print_chosen(clinc: Clinc, digits: Digits) -> None:
    """Print a row for each stage that may come first: what was chosen on it, and what that is worth."""
    rows = []
    for share, first in itertools.product((0.0, SHUFFLED), range(FIRST_STAGES)):
        row = [f"{share:.0%}", str(first + 1)]
        for data, size in ((clinc, 4096), (digits, 1024)):
            chosen = data.choose(0, first, size, share)
            by_default = data.accuracy(0, first, size, WIDTH, PENALTY, share=share)
            by_choice = data.accuracy(0, first, size, *chosen, share=share)
            row += [f"{chosen[0]:.2f}, {chosen[1]:.3f}", f"{by_default:.4f}", f"{by_choice:.4f}"]
        rows.append(row)
    print(table(["shuffled", "first stage", "CLINC150", "default", "chosen", "digits", "default", "chosen"], rows))


def main() -> None:
    """Print a row a choice, the first of which is the default, and then what leave-one-out chooses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.head"))
    clinc = Clinc(options.data, packaged_encoder() if options.encoder == "minilm" else options.encoder)
    digits = Digits()
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
        on_text = _mean(clinc.accuracy, int(4096 * times), **given)
        on_digits = _mean(digits.accuracy, int(1024 * times), **given)
        rows.append([name, f"{on_text:.4f}", f"{on_digits:.4f}"])
    print(table(["choice", "CLINC150 validation", "digits leave-one-out"], rows))
    print()
    print_chosen(clinc, digits)


if __name__ == "__main__":
    main()
