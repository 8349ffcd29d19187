"""The picture: sliding accuracy over each stream, a line a learner, a panel a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.drift.results import Result
from bench.drift.roster import NAMES, OURS

WINDOW = 500
"""Rows of which a point is the mean; in a short stream a tenth of it."""


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture of the shortest delay, if there is anything to show; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    streams = list(dict.fromkeys(one.task.stream for one in results))
    if not streams:
        return
    figure, panels = pyplot.subplots(len(streams), figsize=(12, 4 * len(streams)), dpi=110, squeeze=False)
    colors = dict(zip(NAMES, matplotlib.color_sequences["tab20"], strict=False))
    for axes, stream in zip(panels[:, 0], streams, strict=True):
        _panel(axes, [one for one in results if one.task.stream == stream], stream, colors)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _panel(axes: Any, results: Sequence[Result], stream: str, colors: dict[str, Any]) -> None:
    delay = min(one.task.delay for one in results)
    for one in sorted(results, key=lambda one: NAMES.index(one.task.learner)):
        if one.task.delay == delay:
            window = min(WINDOW, one.rows // 10)
            heights = sliding(one.right, window)
            rows = one.warm_up + window + np.arange(len(heights))
            bold = 2.4 if one.task.learner in OURS else 1.0
            axes.plot(rows, 100 * heights, label=one.task.learner, color=colors[one.task.learner], lw=bold)
    for row in results[0].changes:
        axes.axvline(row, color="black", lw=0.8, ls=":")
    axes.set_title(f"{stream}: accuracy over the last {window} rows, labels {delay:,} rows late")
    axes.set_xlabel("row")
    axes.set_ylabel("%")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def sliding(right: np.ndarray, window: int) -> np.ndarray:
    """Mean of each ``window`` rows that follow one another, [rows - window + 1] float64.

    Examples
    --------
    >>> sliding(np.array([True, False, True, True]), 2).tolist()
    [0.5, 0.5, 1.0]
    """
    total = np.concatenate([[0], np.cumsum(right)])
    return (total[window:] - total[:-window]) / window
