"""The frontier: what the newest domain gained against what the first ones lost, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.lm.life import Lived
from bench.lm.tables import rise


def draw(lived: Sequence[Lived], path: Path) -> None:
    """A point a method, its area the CPU-s; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for method in dict.fromkeys(one.life.method for one in lived):
        mine = [one for one in lived if one.life.method == method]
        worst, newest = np.mean([rise(one) for one in mine]), np.mean([one.perplexity[-1][-1] for one in mine])
        seconds = np.mean([sum(one.cpu_seconds[1:]) for one in mine])
        colour, above = ("tab:green", 6) if method.startswith("Dripstone") else ("tab:grey", -8)
        axes.scatter(worst, newest, s=seconds / 2, color=colour, alpha=0.6)
        axes.annotate(method, (worst, newest), textcoords="offset points", xytext=(8, above), fontsize=8)
    axes.axvline(1.02, linewidth=0.8, linestyle="--", color="black")
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [1, 1.5, 2, 3, 4, 6]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.margins(x=0.15)
    axes.set_xlabel("first domains: perplexity at the end, times that when they were learned (worst; 1.02 is the goal)")
    axes.set_ylabel("perplexity of the newest domain")
    axes.set_title("Shakespeare, Bible, Python docs; areas are CPU seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
