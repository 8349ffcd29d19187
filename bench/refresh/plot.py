"""The picture: accuracy at the end against CPU seconds, a labelled point a learner."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.refresh.results import Report, Result, in_order
from bench.refresh.roster import JOINT, JOINT_LORA, NAMES, PEERS, SELECTIONS

_DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
_DISTANCES = (9, 20, 34, 50, 70, 95)
"""Of a label from its mark, in points."""

_LOWEST = 85.0
_TICKS = (0, 30, 50, 70, 80, 85, 88, 90, 92, 93, 94, 95, 95.5, 96, 96.5, 97, 97.5, 98, 99)


def draw(report: Report, path: Path) -> None:
    """Write the picture, if there is anything to show; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not any(result.accuracy is not None for result in report.results.values()):
        return
    shown = [result for result in in_order(report, NAMES) if result.accuracy is not None]
    figure, axes = pyplot.subplots(figsize=(11, 7), dpi=120)
    _set_scales(axes, shown)
    heights = _heights(shown)
    for label, color, marker, some in _kinds(shown):
        axes.scatter(
            _seconds(some),
            [height for height, result in zip(heights, shown, strict=True) if result in some],
            label=label,
            color=color,
            marker=marker,
            zorder=3,
        )
    axes.set_xlabel("CPU seconds of all training on one thread (log scale)")
    axes.set_ylabel("accuracy on all classes at the end, % (log scale of the error)")
    below = f"; who is below {_LOWEST:.0f} % stands there" if heights != [_percent(result) for result in shown] else ""
    axes.set_title(f"{report.settings.stages} stages of ten classes{below}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    _label(figure, axes, shown)
    figure.savefig(path)
    pyplot.close(figure)


def _set_scales(axes: Any, shown: Sequence[Result]) -> None:
    """Errors on a log scale: what lies between 95 % and 97 % matters as much as what lies between 90 % and 94 %."""
    axes.set_xscale("log")
    axes.set_yscale("function", functions=(lambda y: -np.log10(np.maximum(100 - y, 0.1)), lambda v: 100 - 10**-v))
    seconds, heights = _seconds(shown), _heights(shown)
    axes.set_xlim(min(seconds) / 1.8, max(seconds) * 2.2)
    low, high = 100 - 1.2 * (100 - min(heights)), 100 - 0.8 * (100 - max(heights))
    axes.set_ylim(max(low, 0), min(high, 99.8))
    axes.set_yticks([tick for tick in _TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
    axes.yaxis.set_major_formatter("{x:g}")


def _kinds(shown: Sequence[Result]) -> Iterator[tuple[str, str, str, list[Result]]]:
    joint = {*JOINT, *JOINT_LORA}
    kinds = [
        ("Dripstone, stage by stage", "tab:blue", "o", set(SELECTIONS)),
        ("Dripstone, all classes at once", "tab:cyan", "s", {name for name in NAMES if name.startswith("at once")}),
        ("joint training, all rows once", "tab:red", "s", joint),
        ("peers, stage by stage", "tab:gray", "^", set(PEERS)),
    ]
    for label, color, marker, names in kinds:
        if some := [result for result in shown if result.name in names]:
            yield label, color, marker, some


def _seconds(results: Sequence[Result]) -> list[float]:
    return [result.cpu_seconds for result in results]


def _heights(results: Sequence[Result]) -> list[float]:
    return [max(_percent(result), _LOWEST if _crowded(results) else 0.0) for result in results]


def _crowded(results: Sequence[Result]) -> bool:
    """Whether most stand so high that those far below stand at the lower edge, with their accuracy in words."""
    return sum(_percent(result) > _LOWEST for result in results) > len(results) / 2


def _percent(result: Result) -> float:
    return 100 * (result.accuracy or 0.0)


def _label(figure: Any, axes: Any, shown: Sequence[Result]) -> None:
    """Put each name as near to its mark as it can stand without covering a mark or another name."""
    renderer = figure.canvas.get_renderer()
    places = list(zip(_seconds(shown), _heights(shown), strict=True))
    marks = [axes.transData.transform(place) for place in places]
    taken = [axes.get_legend().get_window_extent(renderer)]
    for result, place, mark in zip(shown, places, marks, strict=True):
        others = [other for other in marks if other is not mark]
        name = result.name if place[1] == _percent(result) else f"{result.name} ({_percent(result):.1f} %)"
        for distance, direction in itertools.product(_DISTANCES, _DIRECTIONS):
            text = _write(axes, name, place, direction, distance)
            box = text.get_tightbbox(renderer).padded(1)
            free = not any(box.overlaps(other) for other in taken) and not any(box.contains(*o) for o in others)
            if free and axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max):
                break
            if (distance, direction) != (_DISTANCES[-1], _DIRECTIONS[-1]):
                text.remove()
        taken.append(text.get_window_extent(renderer).padded(1))


def _write(axes: Any, name: str, place: tuple[float, float], direction: tuple[int, int], distance: int) -> Any:
    right, up = direction
    return axes.annotate(
        name,
        place,
        xytext=(right * distance, up * distance),
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[right],
        va={1: "bottom", 0: "center", -1: "top"}[up],
        fontsize=9,
        arrowprops={"arrowstyle": "-", "color": "gray", "lw": 0.6} if distance > _DISTANCES[0] else None,
    )
