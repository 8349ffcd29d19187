"""Drift detection: false alarms in a store's life, and how many rows it takes to notice a shift, beside peers.

    python -m bench.drift_alarms [--lives 1000] [--trials 16]

False alarms: lives of 200 looks whose rows all come from one source, half of them digits (drawn with replacement, so
that rows and pixels tie), half Gaussian. A look compares 20 rows with the store's own reservoir of 60 earlier ones:
few, so that lives can be many. Their ranks are coarse, and the test is more cautious than it need be. The peer is a
Kolmogorov-Smirnov test of every feature with Bonferroni's correction, as libraries of drift detectors have it: at the
level of the look, and at 0.05 at every look.

Rows to notice: the fewest new rows of which a look raises an alarm in four trials of five, beside 1,000 earlier ones,
at the hundredth look. Both tests have its level, 5e-06. "-" is more than 2,048.

Errors: alarms, false ones, in 10,000 answers with one share of errors, rises and falls alike; then how many answers
after a rise it takes to notice it in half of the trials, after 1,000 answers before it. Peers are river's ADWIN as it
comes, and DDM. "-" is more than 2,000, "before" is an alarm before the rise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from river.drift import ADWIN
from river.drift.binary import DDM
from scipy.stats import beta, kstwo
from sklearn.datasets import load_digits

from bench.report import header
from dripstone.curate.drift import look_for_drift
from dripstone.curate.live_error import WINDOW, watch_errors
from dripstone.curate.replay import remember
from dripstone.view.output import table

ALPHA = 0.05
LOOKS = 200
LATE = 100
ERROR_LIVES = 200
NOTICED = 0.8
SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
RISES = ((0.05, 0.10), (0.05, 0.20), (0.10, 0.40))

Draw = Callable[[np.random.Generator, int], np.ndarray]


class Digits:
    """64 pixels between 0 and 1; nines are the new cluster."""

    name = "digits, 64 pixels"

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        self.known, self.nines = ((pixels[kept] / 16).astype(np.float32) for kept in (labels < 9, labels == 9))
        self.moved = np.random.default_rng(0).permutation(64)[:16]

    def draw(self, random: np.random.Generator, rows: int) -> np.ndarray:
        """Rows of the source."""
        return self.known[random.integers(len(self.known), size=rows)]

    def shifts(self) -> dict[str, Draw]:
        """Rows after a shift."""
        return {
            "mean: 10 % fainter": lambda random, rows: self.draw(random, rows) * np.float32(0.9),
            "variance: noise of 0.15": lambda random, rows: noisy(random, self.draw(random, rows), 0.15),
            "new cluster: 20 % nines": lambda random, rows: mixed(random, self.draw(random, rows), self.nines),
            "16 pixels permuted": lambda random, rows: permuted(self.draw(random, rows), self.moved),
        }


class Gaussian:
    """Features of one variance, neighbours correlated by exp(-1/3); as many as asked for."""

    def __init__(self, width: int) -> None:
        self.name = f"Gaussian, {width}"
        places = np.arange(width)
        covariance = np.exp(-np.abs(places[:, None] - places) / 3)
        self.root = np.linalg.cholesky(covariance).T.astype(np.float32)
        random = np.random.default_rng(0)
        self.moved = random.permutation(width)[: width // 2]
        centre = random.normal(size=width)
        self.centre = (6 * centre / np.linalg.norm(centre)).astype(np.float32)

    def draw(self, random: np.random.Generator, rows: int) -> np.ndarray:
        """Rows of the source."""
        return random.standard_normal((rows, len(self.root)), dtype=np.float32) @ self.root

    def shifts(self) -> dict[str, Draw]:
        """Rows after a shift."""
        return {
            "mean: 0.2 of the deviation": lambda random, rows: self.draw(random, rows) + np.float32(0.2),
            "variance: deviation of 1.2": lambda random, rows: self.draw(random, rows) * np.float32(1.2),
            "new cluster: 20 % at 6": lambda random, rows: mixed(
                random, self.draw(random, rows), self.draw(random, 1000) / 2 + self.centre
            ),
            "half the features permuted": lambda random, rows: permuted(self.draw(random, rows), self.moved),
        }


def noisy(random: np.random.Generator, rows: np.ndarray, deviation: float) -> np.ndarray:
    """Noise where there is something, so that empty pixels stay empty."""
    return rows + np.float32(deviation) * random.standard_normal(rows.shape, dtype=np.float32) * (rows > 0)


def mixed(random: np.random.Generator, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A fifth of the rows is of another kind."""
    strange = random.random(len(rows)) < 0.2
    return np.where(strange[:, None], others[random.integers(len(others), size=len(rows))], rows)


def permuted(rows: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Some columns change places."""
    rows = rows.copy()
    rows[:, moved] = rows[:, np.roll(moved, 1)]
    return rows


def kolmogorov_smirnov(reference: np.ndarray, new: np.ndarray) -> float:
    """The smallest p-value of all features, times their number."""
    pooled = np.concatenate([reference, new])
    order = pooled.argsort(axis=0, kind="stable")
    steps = np.where(order < len(reference), -1 / len(reference), 1 / len(new)).cumsum(axis=0)
    ranked = np.take_along_axis(pooled, order, axis=0)
    last_of_ties = np.append(ranked[1:] != ranked[:-1], np.ones((1, ranked.shape[1]), bool), axis=0)
    distance = float(np.abs(steps * last_of_ties).max())
    effective = round(len(reference) * len(new) / len(pooled))
    return min(1.0, float(kstwo.sf(distance, max(1, effective))) * reference.shape[1])


def first_alarms(source: Digits | Gaussian, life: int, peers: bool) -> list[int]:
    """The look at which each test raises its first alarm in a life without drift, 0 for never."""
    random = np.random.default_rng((life, 1))
    rows = source.draw(random, 60 + 20 * LOOKS)
    memory, seen = remember([], 0, range(60), 60, life)
    first = [0, 0, 0]
    for look in range(1, LOOKS + 1):
        coming = range(seen, seen + 20)
        reference, new = rows[memory], rows[coming.start : coming.stop]
        found = look_for_drift(reference, new, look - 1, ALPHA, seed=life)
        p_value = kolmogorov_smirnov(reference, new) if peers else 1.0
        for test, alarm in enumerate([found.alarm, p_value <= found.level, p_value <= ALPHA]):
            first[test] = first[test] or look * alarm
        memory, seen = remember(memory, seen, coming, 60, life)
    return first


def share(alarms: int, lives: int) -> str:
    """A share and its upper 95 % bound (Clopper and Pearson)."""
    bound = float(beta.ppf(0.975, alarms + 1, lives - alarms)) if alarms < lives else 1.0
    return f"{alarms} of {lives} lives ({alarms / lives:.1%}, at most {bound:.1%})"


def false_alarms(lives: int) -> str:
    """A row a test. A peer lives a fifth of the lives."""
    halves = [(source, life) for source in (Digits(), Gaussian(8)) for life in range(lives // 2)]
    first = np.array([first_alarms(source, life, peers=life % 5 == 0) for source, life in halves])
    fifth = np.array([life % 5 == 0 for _, life in halves])
    return table(
        ["test", "alarm in a life without drift"],
        [
            ["look_for_drift, alpha 0.05", share(int((first[:, 0] > 0).sum()), len(first))],
            ["KS, at the look's level", share(int((first[fifth, 1] > 0).sum()), int(fifth.sum()))],
            ["KS, 0.05 at every look", share(int((first[fifth, 2] > 0).sum()), int(fifth.sum()))],
        ],
    )


def rows_to_notice(source: Digits | Gaussian, shifted: Draw, trials: int) -> list[str]:
    """The fewest rows for either test."""
    level = ALPHA / (LATE * (LATE + 1))

    def ours(reference: np.ndarray, new: np.ndarray, trial: int) -> bool:
        return look_for_drift(reference, new, LATE - 1, ALPHA, seed=trial).alarm

    def peer(reference: np.ndarray, new: np.ndarray, trial: int) -> bool:
        return kolmogorov_smirnov(reference, new) <= level

    return [
        next((f"{size:,}" for size in SIZES if noticed(test, source, shifted, size, trials)), "-")
        for test in (ours, peer)
    ]


def noticed(
    test: Callable[[np.ndarray, np.ndarray, int], bool],
    source: Digits | Gaussian,
    shifted: Draw,
    size: int,
    trials: int,
) -> bool:
    """Whether enough trials raise an alarm; stops once they cannot."""
    missed = 0
    for trial in range(trials):
        random = np.random.default_rng((trial, size))
        missed += not test(source.draw(random, 1000), shifted(random, size), trial)
        if missed > (1 - NOTICED) * trials:
            return False
    return True


def river_first(detector: ADWIN | DDM, answers: np.ndarray) -> int:
    """Answers until river's detector sees a drift, 0 for never."""
    for read, wrong in enumerate(answers.tolist(), start=1):
        detector.update(wrong)
        if detector.drift_detected:
            return read
    return 0


def our_first(delta: float) -> Callable[[np.ndarray], int]:
    """The same by `watch_errors`, by bisection over the number of answers: an alarm, once raised, cuts the window."""

    def first(answers: np.ndarray) -> int:
        if len(watch_errors(answers[:0], answers, delta)[0]) == len(answers):
            return 0
        low, high = 0, len(answers)
        while high - low > 1:
            middle = (low + high) // 2
            kept = len(watch_errors(answers[:0], answers[:middle], delta)[0])
            low, high = (middle, high) if kept == middle else (low, middle)
        return high

    return first


def wait(answers: int) -> str:
    """A cell of the last table."""
    return "before" if answers < 0 else "-" if answers > 2000 else str(answers)


def errors(trials: int) -> str:
    """False alarms (rises and falls) in 10,000 answers, and answers until a rise is seen."""
    detectors: dict[str, Callable[[np.ndarray], int]] = {
        **{f"watch_errors, delta {delta}": our_first(delta) for delta in (0.002, 0.01, 0.05)},
        "river ADWIN, delta 0.002": lambda answers: river_first(ADWIN(), answers),
        "river DDM": lambda answers: river_first(DDM(), answers),
    }
    rows = []
    for name, first in detectors.items():
        row = [name]
        for wrong in (0.05, 0.30):
            lives = [np.random.default_rng((life, 2)).random(WINDOW) < wrong for life in range(ERROR_LIVES)]
            row.append(f"{sum(first(life) > 0 for life in lives)} of {len(lives)}")
        for before, after in RISES:
            random = [np.random.default_rng((trial, 3)) for trial in range(trials)]
            streams = [np.append(draw.random(1000) < before, draw.random(2000) < after) for draw in random]
            waits = [found - 1000 if (found := first(stream)) else 2001 for stream in streams]
            row.append(wait(int(np.median(waits))))
        rows.append(row)
    rises = [f"{before:.0%} to {after:.0%}" for before, after in RISES]
    return table(["detector", "alarms at 5 %", "at 30 %", *rises], rows)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(header("bench.drift_alarms"), flush=True)
    print(false_alarms(options.lives), end="\n\n", flush=True)
    rows = [
        [source.name, shift, *rows_to_notice(source, shifted, options.trials)]
        for source in (Digits(), Gaussian(64), Gaussian(384))
        for shift, shifted in source.shifts().items()
    ]
    print(table(["features", "shift", "rows to notice", "KS"], rows), end="\n\n", flush=True)
    print(errors(options.trials))


if __name__ == "__main__":
    main()
