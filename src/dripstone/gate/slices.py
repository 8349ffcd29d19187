"""Harm, looked for in every slice of the trusted rows at once.

H0 of a slice: the candidate loses at most ``margin`` of accuracy there. Each slice has its own e-process, and the bar
is the number of slices over alpha (Bonferroni for e-values), so that the chance of refusing a harmless candidate for
any slice is at most alpha on rows that no earlier decision has shaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dripstone.gate.evidence import log_wealth

OVERALL = "all trusted rows"


@dataclass(frozen=True, slots=True)
class Harm:
    """A slice in which a loss beyond the margin is shown."""

    slice: str
    rows: int
    worse: int
    better: int
    wealth: float
    bar: float


def slice_members(labels: Sequence[str], slices: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Row indices by slice: one slice a class, one a value of the slice column.

    Examples
    --------
    >>> {name: rows.tolist() for name, rows in slice_members(["a", "b", "a"], [None, "eu", "eu"]).items()}
    {'class a': [0, 2], 'class b': [1], 'slice eu': [1, 2]}
    """
    members: dict[str, list[int]] = {}
    for index, (label, name) in enumerate(zip(labels, slices, strict=True)):
        members.setdefault(f"class {label}", []).append(index)
        if name is not None:
            members.setdefault(f"slice {name}", []).append(index)
    return {name: np.array(rows, dtype=np.int64) for name, rows in members.items()}


def find_harm(
    candidate_right: np.ndarray, champion_right: np.ndarray, members: dict[str, np.ndarray], margin: float, alpha: float
) -> Harm | None:
    """The slice with the strongest proof of harm, if any passes the bar.

    Parameters
    ----------
    candidate_right, champion_right : numpy.ndarray
        [rows] bool: right answers on trusted rows, restricted to labels that both versions know.
    members : dict of str to numpy.ndarray
        Row indices by slice; all rows together are watched as well.
    margin : float
        Tolerated loss of accuracy, as a share.
    alpha : float
        Chance of refusing a harmless candidate.

    Examples
    --------
    >>> right, wrong = np.ones(80, bool), np.zeros(80, bool)
    >>> find_harm(wrong, right, {}, margin=0.01, alpha=0.05).worse
    80
    >>> find_harm(right, right, {}, margin=0.01, alpha=0.05) is None
    True
    """
    loss = champion_right.astype(np.int64) - candidate_right.astype(np.int64)
    watched = {OVERALL: np.arange(len(loss)), **members}
    bar = math.log(len(watched) / alpha)
    worst: tuple[float, str] | None = None
    for name, rows in watched.items():
        wealth = log_wealth(loss[rows], bound=margin)
        if wealth >= bar and (worst is None or wealth > worst[0]):
            worst = (wealth, name)
    if worst is None:
        return None
    wealth, name = worst
    rows = watched[name]
    return Harm(
        slice=name,
        rows=len(rows),
        worse=int((loss[rows] > 0).sum()),
        better=int((loss[rows] < 0).sum()),
        wealth=math.exp(min(wealth, 700.0)),
        bar=math.exp(bar),
    )
