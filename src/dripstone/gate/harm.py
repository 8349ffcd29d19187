"""Harm, looked for in every slice of the trusted rows at once, against the champion and the best version so far.

H0 of a slice: the candidate loses at most ``margin`` of the metric there. Each slice has its own e-process, and the bar
is the number of slices over alpha (Bonferroni for e-values), so that the chance of refusing a harmless candidate for
any slice is at most alpha on rows that no earlier decision has shaped. Slices that have too few rows to pass, whatever
the answers, are not watched, and the others do not pay for them.

References
----------
Podkopaev & Ramdas, "Tracking the risk of a deployed model and detecting harmful distribution shifts", arXiv 2110.06177
(H0: the risk has risen by at most a tolerance). Tarone, "A modified Bonferroni method for discrete data", Biometrics
46, 1990 (what cannot pass need not be counted).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dripstone.core.records import HarmTest
from dripstone.gate.evidence import log_factors, log_mean, relative_weights
from dripstone.gate.slices import Partition

OVERALL = "all trusted rows"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The candidate against one other version, on the rows whose label that version knows.

    ``gains`` [rows] are the candidate's score less the other's, both restricted to labels that both know; ``weights``
    [rows] not negative, or None; ``partitions`` part these rows.
    """

    against: str
    gains: np.ndarray
    weights: np.ndarray | None
    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    """One slice: who is compared, which column and code, and two logs of wealth, the found and the highest possible."""

    comparison: Comparison
    partition: Partition | None
    code: int
    wealth: float
    possible: float

    def rows(self) -> np.ndarray:
        if self.partition is None:
            return np.ones(len(self.comparison.gains), dtype=bool)
        return self.partition.codes == self.code


def find_harm(comparisons: Sequence[Comparison], margin: float, alpha: float) -> HarmTest:
    """The slice with the strongest evidence of harm. Harm is shown if its ``wealth`` reaches its ``bar``.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Against the champion, and against the anchor where it is another version.
    margin : float
        Tolerated loss of the metric, as a share.
    alpha : float
        Chance of refusing a harmless candidate.

    Examples
    --------
    >>> lost = Comparison("champion", -np.ones(80, dtype=np.int64), None, [])
    >>> found = find_harm([lost], margin=0.01, alpha=0.05)
    >>> found.worse, found.wealth >= found.bar
    (80, True)
    >>> same = Comparison("champion", np.zeros(80, dtype=np.int64), None, [])
    >>> find_harm([same], margin=0.01, alpha=0.05).wealth < 1
    True
    """
    watches = [watch for comparison in comparisons for watch in _watches(comparison, margin)]
    possible = np.array([watch.possible for watch in watches])
    count = _worth_watching(possible, alpha)
    bar = math.log(max(count, 1) / alpha)
    watched = [watch for watch in watches if watch.possible >= bar]
    if not watched:
        return HarmTest(bar=math.exp(bar))
    worst = max(watched, key=lambda watch: watch.wealth)
    gains = worst.comparison.gains[worst.rows()]
    return HarmTest(
        slice=OVERALL if worst.partition is None else worst.partition.names[worst.code],
        against=worst.comparison.against,
        rows=len(gains),
        worse=int((gains < 0).sum()),
        better=int((gains > 0).sum()),
        wealth=math.exp(min(worst.wealth, 700.0)),
        bar=math.exp(bar),
    )


def _watches(comparison: Comparison, margin: float) -> list[_Watch]:
    gains, weights = comparison.gains, relative_weights(comparison.weights)
    if len(gains) == 0:
        return []
    found = log_factors(-gains, weights, margin)
    most = log_factors(np.ones(len(gains), dtype=np.int64), weights, margin)
    watches = [_Watch(comparison, None, -1, float(log_mean(found.sum(axis=0))), float(log_mean(most.sum(axis=0))))]
    for parted in comparison.partitions:
        wealths, ceilings = _by_slice(found, parted), _by_slice(most, parted)
        watches += [
            _Watch(comparison, parted, int(code), float(wealths[code]), float(ceilings[code]))
            for code in np.unique(parted.codes[parted.codes >= 0])
        ]
    return watches


def _by_slice(factors: np.ndarray, parted: Partition) -> np.ndarray:
    inside = parted.codes >= 0
    codes = parted.codes[inside]
    sums = [np.bincount(codes, weights=column, minlength=len(parted.names)) for column in factors[inside].T]
    return log_mean(np.stack(sums, axis=1))


def _worth_watching(possible: np.ndarray, alpha: float) -> int:
    """The least number M such that no more than M slices can reach the bar M/alpha, from their rows alone."""
    ceilings = np.sort(possible)
    numbers = np.arange(1, len(ceilings) + 1)
    able = len(ceilings) - np.searchsorted(ceilings, np.log(numbers / alpha), side="left")
    enough = np.flatnonzero(able <= numbers)
    return int(numbers[enough[0]]) if len(enough) else len(ceilings)
