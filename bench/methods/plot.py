"""The heat map: accuracy at the end, a row a selector, a column an optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from bench.methods.life import Lived
from bench.methods.roster import CLOSED, SELECTORS
from bench.methods.tables import last
from dripstone.train.optimizers import OPTIMIZERS

RANGE = 30
"""Points below the best that have colours of their own; what is worse is as dark."""


def draw(lives: Sequence[Sequence[Lived]], path: Path, title: str) -> None:
    """Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {some[0].method: some for some in lives if not any(one.error for one in some)}
    optimizers = [one for one in OPTIMIZERS if any(method.endswith("@" + one) for method in found)]
    selectors = [one for one in SELECTORS if any(method.startswith(one + "@") for method in found)]
    shares = np.full((len(selectors), len(optimizers)), np.nan)
    for row, selector in enumerate(selectors):
        for column, optimizer in enumerate(optimizers):
            if some := found.get(f"{selector}@{optimizer}"):
                shares[row, column] = 100 * mean(map(last, some))
    figure, axes = pyplot.subplots(figsize=(8.5, 7.5))
    low = max(float(np.nanmin(shares)), float(np.nanmax(shares)) - RANGE)
    picture = axes.imshow(shares, aspect="auto", cmap="viridis", vmin=low, vmax=float(np.nanmax(shares)))
    middle = (low + float(np.nanmax(shares))) / 2
    for row, column in np.ndindex(*shares.shape):
        if np.isfinite(shares[row, column]):
            colour = "white" if shares[row, column] < middle else "black"
            axes.text(column, row, f"{shares[row, column]:.1f}", ha="center", va="center", color=colour, fontsize=9)
    moved = [mean(one.moved / max(one.dense / 4, 1) for some in _of(found, s) for one in some) for s in selectors]
    labels = [f"{selector}  ({_percent(share)})" for selector, share in zip(selectors, moved, strict=True)]
    axes.set_yticks(range(len(selectors)), labels, fontsize=9)
    axes.set_xticks(range(len(optimizers)), optimizers, fontsize=8)
    axes.xaxis.tick_top()
    others = [f"{method} {100 * mean(map(last, found[method])):.1f}" for method in CLOSED if method in found]
    words = "accuracy at the end in per cent; in brackets the share of the numbers that the last update moved"
    axes.set_xlabel(f"{words}\n{'; '.join(others)}", fontsize=9)
    axes.set_title(title, fontsize=11, pad=24)
    figure.colorbar(picture, ax=axes, shrink=0.6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share > 0.1 else f"{100 * share:.1f} %"


def _of(found: dict[str, Sequence[Lived]], selector: str) -> list[Sequence[Lived]]:
    return [some for method, some in found.items() if method.startswith(selector + "@")]
