"""The scale of columns: the rule beside two others, and what a new scale is worth to a stream that drifts.

    python -m bench.scaling [--draws 5]

First table: accuracy in percent of the closed form over random Fourier features that saw a first stage of n rows, on
others, mean over draws of the stage; then what two rules change, in points, with the standard error of the difference.
The ``floor`` divides a column by its deviation or the median one, whichever is larger; ``own`` by its deviation;
``rule`` is `dripstone.models.scaling`. ``mixed`` is a generated table of eight columns in their own units, ``noisy``
the same with six columns of noise, ``units`` scikit-learn's ``make_classification`` in random units, ``counts`` are
words of five topics, and in ``decaying`` all columns share a unit, and the smaller ones say less.

Second table: generated lives of 3,000 rows in stages of 100, judged before they are learned. The first rows are all of
one season and year. ``once`` keeps the first stage's scale, ``anew`` is what an update does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from bench.report import header
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.models.moments import Moments
from dripstone.models.scaling import scale_of, varied
from dripstone.train.closed_form import fit_head
from dripstone.train.features import features_of, outputs_of
from dripstone.train.hyperparameters import choose_hyperparameters
from dripstone.train.statistics import add_rows, no_rows
from dripstone.update import rescale
from dripstone.view.output import table

Rows = tuple[np.ndarray, np.ndarray]
STAGES = (60, 200, 600)
TRIED = 1500
RANDOM_FEATURES = 512


def floor(moments: Moments) -> np.ndarray:
    """The larger of a column's deviation and the median one."""
    deviation = moments.deviation()
    return np.maximum(deviation, np.median(deviation[varied(moments)]))


def own(moments: Moments) -> np.ndarray:
    """A column's deviation, 1 where it does not vary."""
    return np.where(varied(moments), moments.deviation(), 1.0)


def mixed(seed: int, noise: tuple[int, ...] = (), count: int = 2400) -> Rows:
    """Shares, hours, months, flags, money, ages and rates; ``noise`` are powers of ten."""
    draw = np.random.default_rng(seed)
    share, hour, month = draw.beta(3, 3, count), draw.integers(0, 24, count), draw.integers(1, 13, count)
    flag, rare, money = draw.random(count) < 0.3, draw.random(count) < 0.03, np.exp(draw.normal(8, 1, count))
    age, rate = draw.normal(45, 15, count), draw.normal(0.02, 0.004, count)
    columns = [share, hour, month, flag, rare, money, age, rate]
    columns += [draw.normal(0, 10.0**power, count) for power in noise]
    day = 1.4 * np.sin(hour / 24 * 2 * np.pi)
    said = [5 * share - 2.5, day, (month - 6.5) / 3.4, 2 * flag - 0.6, 3.0 * rare, np.log(money) - 8, (age - 45) / 15]
    hidden = np.tanh(0.5 * np.stack([*said, 250 * rate - 5], 1) @ draw.normal(size=(8, 16)) + draw.normal(size=16))
    return np.stack(columns, 1), (hidden @ draw.normal(size=(16, 4)) + 0.3 * draw.normal(size=(count, 4))).argmax(1)


def units(seed: int) -> Rows:
    """scikit-learn's generated classes, each column in a unit of its own."""
    from sklearn.datasets import make_classification

    rows, labels = make_classification(2400, 20, n_informative=8, n_redundant=4, n_classes=4, random_state=seed)
    draw = np.random.default_rng(seed)
    return rows * 10 ** draw.uniform(-2, 3, 20) + 10 ** draw.uniform(-2, 3, 20), labels


def counts(seed: int, count: int = 2400) -> Rows:
    """Words of five topics, most of them rare."""
    draw = np.random.default_rng(seed)
    topics, labels = draw.dirichlet(np.full(120, 0.15), 5), draw.integers(0, 5, count)
    shares = 0.5 * topics + 0.5 * topics.mean(0)
    return np.stack([draw.multinomial(draw.integers(10, 60), shares[label]) for label in labels]), labels


def decaying(seed: int, count: int = 2000) -> Rows:
    """Forty columns from 1 down to 0.01, of which the first ten tell the classes apart."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, 40)) * np.geomspace(1, 0.01, 40)
    hidden = np.tanh(rows[:, :10] @ draw.normal(size=(10, 12)))
    return rows, (hidden @ draw.normal(size=(12, 4))).argmax(1)


def packaged(name: str) -> Callable[[int], Rows]:
    """A data set of scikit-learn's."""
    from sklearn import datasets

    return lambda seed: getattr(datasets, f"load_{name}")(return_X_y=True)


DATA: dict[str, Callable[[int], Rows]] = {
    "digits": packaged("digits"),
    "counts": counts,
    "wine": packaged("wine"),
    "breast_cancer": packaged("breast_cancer"),
    "mixed": mixed,
    "noisy": lambda seed: mixed(seed, (-3, -1, 0, 1, 2, 3)),
    "units": units,
    "decaying": decaying,
}


def accuracy(rows: np.ndarray, labels: np.ndarray, stage: int, rule: Callable[[Moments], np.ndarray]) -> float:
    """Of the rows after the first stage, in percent."""
    model = mlp(inputs=rows.shape[1], random_features=RANDOM_FEATURES)
    with mock.patch("dripstone.models.preprocess.scale_of", rule):
        model.fit(list(rows[:stage]))
    features = features_of(model, list(rows[:stage]))
    targets, weights = torch.from_numpy(labels[:stage]), torch.ones(stage, dtype=torch.float64)
    model.head.fit(features)
    model.head.grow(int(labels.max()) + 1)
    choose_hyperparameters(model.head, features, targets, weights)
    statistics = add_rows(no_rows(), model.head, features, targets, weights)
    fit_head(model.head, statistics, float(model.head.penalty), features, targets, weights)
    answers = outputs_of(model, features_of(model, list(rows[stage : stage + TRIED]))).argmax(1).numpy()
    return 100 * float((answers == labels[stage : stage + TRIED]).mean())


def compare(name: str, stage: int, draws: int) -> list[str]:
    """A line of the first table."""
    found = []
    for seed in range(draws):
        rows, labels = DATA[name](seed)
        order = np.random.default_rng(seed).permutation(len(rows))
        drawn = np.asarray(rows, dtype=np.float32)[order], np.asarray(labels, dtype=np.int64)[order]
        found.append([accuracy(*drawn, stage, rule) for rule in (floor, own, scale_of)])
    scores = np.array(found)
    changes = [scores[:, place] - scores[:, 0] for place in (1, 2)]
    told = [f"{change.mean():+.2f} ± {change.std() / draws**0.5:.2f}" for change in changes]
    return [name, str(stage), f"{scores[:, 0].mean():.2f}", *told]


def season(seed: int, count: int = 3000) -> Rows:
    """A table whose season, year and temperature move on while its rows come."""
    draw, law = np.random.default_rng(seed), np.random.default_rng(7)
    time = np.arange(count) / count
    hour, month, year = draw.integers(0, 24, count), np.floor(12 * time), time > 0.5
    warm = 0.2 + 0.6 * np.sin(time * np.pi) + 0.05 * draw.normal(size=count)
    wind, flag = np.exp(draw.normal(-1, 0.6, count)), draw.random(count) < 0.1
    day = hour / 24 * 2 * np.pi
    said = np.stack([np.sin(day), np.cos(day), 4 * warm - 2, wind - 0.4, flag, year], 1)
    scores = np.tanh(said @ law.normal(size=(6, 24))) @ law.normal(size=(24, 4)) + 0.4 * draw.normal(size=(count, 4))
    return np.stack([hour, month, warm, wind, year, flag], 1).astype(np.float32), scores.argmax(1)


def live(seed: int, fewest: int) -> tuple[float, int]:
    """Prequential accuracy of a life in percent, and how often the scale was set anew."""
    rows, labels = season(seed)
    right, anew = [], 0
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(rescale, "FEWEST", fewest):
        model = mlp(inputs=rows.shape[1], random_features=RANDOM_FEATURES)
        learner = Learner.create(Path(folder) / "life", model=model, settings={"gate.mode": "off"})
        (learner.repository.path / "training" / "holdout.key").write_bytes(b"k" * 32)
        for start in range(0, len(rows), 100):
            stage = slice(start, start + 100)
            if start:
                right += list(np.array(learner.predict(list(rows[stage]))) == labels[stage])
            came = zip(rows[stage].tolist(), labels[stage].tolist(), strict=True)
            update = learner.update([{"inputs": row, "label": label} for row, label in came])
            anew += update.reason.endswith("new scale")
    return 100 * float(np.mean(right)), anew


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    draws = parser.parse_args().draws
    print(header("bench.scaling"))
    lines = []
    for name in DATA:
        length = len(DATA[name](0)[0])
        lines += [compare(name, stage, draws) for stage in STAGES if stage <= 0.7 * length]
    print(table(["data", "n", "floor", "own", "rule"], lines), "\n")
    lives = [(live(seed, 2**40), live(seed, rescale.FEWEST)) for seed in range(draws)]
    lines = [
        [str(seed), f"{once:.2f}", f"{anew:.2f}", str(times)] for seed, ((once, _), (anew, times)) in enumerate(lives)
    ]
    print(table(["life", "once", "anew", "new scales"], lines))


if __name__ == "__main__":
    main()
