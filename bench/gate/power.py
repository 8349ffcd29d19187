"""How many fresh rows a proof takes: the first candidate of a store, tested at the level alpha / 2.

Beside it stands an oracle, a gambler who knows the true share of wins and bets as Kelly would: no e-process of these
rows grows faster.

References
----------
Kelly, "A new interpretation of information rate", Bell System Technical Journal 35, 1956.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.gate.proof import first_reach
from dripstone.core.config import GateConfig
from dripstone.gate.evidence import BETS, level

GAINS = (0.0025, 0.005, 0.01, 0.02, 0.03)
FLIP_SHARES = (0.02, 0.04, 0.08)
ROWS = (200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
THRESHOLD = 1 / level(GateConfig().alpha, 1)

_HORIZON = 8
"""Simulated rows, in units of what the mean growth of the oracle would take for the bar of the mixture."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A true gain at a share of flips, simulated ``paths`` times."""

    gain: float
    flips: float
    paths: int


@dataclass(frozen=True, slots=True, eq=False)
class Power:
    """[paths] fresh rows and differing rows until the proof, sorted; infinite if it was not found in time."""

    setting: Setting
    rows: np.ndarray
    discordant: np.ndarray
    oracle_rows: np.ndarray

    def at(self, rows: int) -> float:
        """Share of proofs found within so many fresh rows."""
        return float((self.rows <= rows).mean())


def settings(paths: int) -> list[Setting]:
    """All that can be: a gain is at most the share of flips."""
    return [Setting(gain, flips, paths) for gain in GAINS for flips in FLIP_SHARES if gain <= flips]


def simulate(setting: Setting) -> Power:
    """Read rows until the proof, again and again."""
    draw = np.random.default_rng([round(setting.gain * 1e6), round(setting.flips * 1e6)])
    edge = setting.gain / setting.flips
    chance = (1 + edge) / 2
    growth = math.log(2) if edge == 1 else chance * math.log1p(edge) + (1 - chance) * math.log1p(-edge)
    horizon = math.ceil(_HORIZON * (math.log(THRESHOLD) + math.log(len(BETS))) / growth)
    found = np.array([_one_path(setting, edge, horizon, draw) for _ in range(setting.paths)])
    return Power(setting, *np.sort(found, axis=0).T)


def _one_path(setting: Setting, edge: float, horizon: int, draw: np.random.Generator) -> tuple[float, float, float]:
    signs = np.where(draw.random(horizon) < (1 + edge) / 2, 1, -1).astype(np.int8)
    # Rows on which the two agree lie between those on which they differ.
    places = np.cumsum(draw.geometric(setting.flips, horizon))
    differing = first_reach(signs, THRESHOLD)
    with np.errstate(divide="ignore"):
        kelly = np.log1p(edge * np.array([0.0, 1.0, -1.0]))[signs]
    reached = np.flatnonzero(np.cumsum(kelly) >= math.log(THRESHOLD))
    return (
        float(places[differing - 1]) if differing else math.inf,
        float(differing) if differing else math.inf,
        float(places[reached[0]]) if len(reached) else math.inf,
    )


def plot(powers: Sequence[Power], path: Path) -> None:
    """Draw the curves, a panel a share of flips. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(FLIP_SHARES), figsize=(12, 3.6), sharey=True, layout="constrained")
    for panel, flips in zip(panels, FLIP_SHARES, strict=True):
        for color, gain in enumerate(GAINS):
            for power in powers:
                if (power.setting.gain, power.setting.flips) == (gain, flips):
                    share = np.arange(1, len(power.rows) + 1) / len(power.rows)
                    panel.plot(power.rows, share, f"C{color}", label=f"{gain * 100:+g}")
                    panel.plot(power.oracle_rows, share, f"C{color}", linestyle=":", linewidth=1)
        panel.set(xscale="log", xlim=(100, 300_000), xlabel="fresh rows", title=f"{flips:.0%} flips")
    panels[0].set_ylabel("proven (dotted: oracle)")
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, title="gain, points", loc="outside right center")
    figure.savefig(path, dpi=120)
