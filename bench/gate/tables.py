"""The tables that are printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.gate.lives import Summary
from bench.gate.power import ROWS, Power
from bench.gate.reuse import Reuse
from bench.gate.slice_loss import Verdicts
from bench.gate.stall import Stall
from dripstone.view.output import table

Summaries = Mapping[tuple[str, int], Summary]
"""By gate and fresh rows."""


def lives(summaries: Summaries) -> str:
    """What each gate did, a line a gate and size."""
    header = [
        "gate",
        "fresh",
        "good",
        "null",
        "harmful",
        "any w/o gain",
        "net > 0",
        "> 1.5 below",
        "net",
        "rows",
        "bound",
    ]
    rows = [
        [
            gate,
            str(fresh),
            *(percent(share) for share in (found.good, found.null, found.harmful, found.any_without_gain)),
            *(percent(share) for share in (found.net_positive, found.drawdown)),
            f"{found.net * 100:+.1f}",
            number(found.discordant),
            "kept" if found.keeps_bound else "no",
        ]
        for (gate, fresh), found in summaries.items()
    ]
    return table(header, rows)


def power(powers: Sequence[Power]) -> str:
    """Shares of proofs by fresh rows, and the rows that half and nine tenths of the proofs take."""
    header = ["gain", "flips", *map(str, ROWS), "50 %", "90 %", "oracle 50 %", "oracle 90 %", "differing 50 %"]
    rows = [
        [
            f"{found.setting.gain * 100:.2f}",
            percent(found.setting.flips, 0),
            *(percent(found.at(rows), 0) for rows in ROWS),
            *(number(quantile(found.rows, share)) for share in (0.5, 0.9)),
            *(number(quantile(found.oracle_rows, share)) for share in (0.5, 0.9)),
            number(quantile(found.discordant, 0.5)),
        ]
        for found in powers
    ]
    return table(header, rows)


def slice_loss(verdicts: Sequence[Verdicts]) -> str:
    """Refusals by trusted rows in the slice."""
    header = ["loss in the slice", "trusted rows in it", "trusted rows", "refused", "promoted"]
    rows = [
        [
            f"{found.setting.loss * 100:g}",
            str(found.setting.rows),
            str(found.setting.rows * 10),
            percent(found.refused),
            percent(found.promoted),
        ]
        for found in verdicts
    ]
    return table(header, rows)


def reuse(lives: Sequence[Reuse]) -> str:
    """What is claimed, and what the reused rows show, in points; the true gain is 0."""
    header = ["gate", "fresh", "lives", "promoted", "claimed", "most claimed", "rows show", "most shown", "fresh show"]
    rows = []
    for gate, fresh in dict.fromkeys((life.setting.gate, life.setting.fresh) for life in lives):
        found = [life for life in lives if (life.setting.gate, life.setting.fresh) == (gate, fresh)]
        claimed, shown = (np.array([getattr(life, name) for life in found]) for name in ("claimed", "inflation"))
        promoted = float(np.mean([life.promoted for life in found]))
        points = [f"{value * 100:+.2f}" for value in (claimed.mean(), claimed.max(), shown.mean(), shown.max())]
        seen = [life.fresh for life in found if life.fresh is not None]
        points.append(f"{np.mean(seen) * 100:+.2f}" if seen else "-")
        rows.append([gate, str(fresh), str(len(found)), f"{promoted:.0f}", *points])
    return table(header, rows)


def stall(lives: Sequence[Stall]) -> str:
    """Promotions and waits in a stream of small updates: the mean over lives, and the worst life."""
    columns = {
        "promoted": [life.promoted for life in lives],
        "refused": [life.refused for life in lives],
        "longest run of undecided": [life.longest for life in lives],
        "true gain, points": [life.gain * 100 for life in lives],
    }
    rows = [
        [name, f"{np.mean(values):.1f}", *(f"{value:.1f}" for value in (np.median(values), min(values), max(values)))]
        for name, values in columns.items()
    ]
    return table(["a life", "mean", "median", "least", "most"], rows)


def quantile(values: np.ndarray, share: float) -> float:
    """The least value that so many are at or below; infinite ones may be among them.

    Examples
    --------
    >>> quantile(np.array([1.0, 2.0, np.inf]), 0.5)
    2.0
    """
    return float(np.sort(values)[math.ceil(share * len(values)) - 1])


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{share * 100:.{digits}f}%"


def number(value: float) -> str:
    """A whole number; a dash where there is none."""
    return f"{value:.0f}" if math.isfinite(value) else "-"
