"""The picture of a search: scores as they came, and beside them scores by learning rate and by selection."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dripstone.core.errors import UsageError
from dripstone.core.tuned import SettingsTrial, Tuned
from dripstone.store.files import write_over

SIZE = (13.0, 4.8)
DPI = 110
COLOURS = ("#0b7a75", "#3d5a98", "#e0a030", "#7b4b94", "#5f6b6d", "#8a5a36", "#2f2f2f")
INK, PALE, OWN = "#22313f", "#9aa5ad", "#c8354a"
WORST = 0.25
"""Share of the trials that may lie beyond the edge, so that a few bad ones do not make all others look alike."""


def import_matplotlib() -> Any:
    """The package ``matplotlib``, or an error that says how to install it."""
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("a picture needs the package 'matplotlib'", remedy="pip install 'dripstone[tune]'") from error
    return matplotlib


def check_picture(path: Path | None) -> None:
    """Refuse a picture that could not be drawn in the end.

    Raises
    ------
    UsageError
        If ``matplotlib`` is not installed, the name is not that of a PNG file, or its folder is not there.
    """
    import_matplotlib()
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} is no PNG file", remedy="give a name that ends in .png", kind="usage.picture")
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path.parent} cannot be written to", remedy="name another folder", kind="usage.picture")
    if not path.parent.is_dir() or path.is_dir():
        what = f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise UsageError(what, remedy="name a file in a folder that is there", kind="usage.picture")


def draw(tuned: Tuned, path: Path) -> None:
    """Write the picture of a search as PNG, whole or not at all."""
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3, sharey=True, width_ratios=[5, 4, 3])
    colours = _colours(tuned.trials)
    _set_range(axes[0], tuned)
    _draw_course(axes[0], tuned, colours)
    _draw_rates(axes[1], tuned, colours)
    _draw_selections(axes[2], tuned, colours)
    for axis in axes:
        _tidy(axis, tuned)
    axes[0].set_ylabel(tuned.score, color=INK)
    _legend(figure, axes[0])
    figure.suptitle(_title(tuned), x=0.01, ha="left", color=INK, fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    write_over(path, file.getvalue())


def _title(tuned: Tuned) -> str:
    rows = tuned.rows
    tried = rows.tried + rows.remembered_tried
    return f"{len(tuned.trials)} trials of settings, {tried:,} tried rows" + (
        f": trial {tuned.chosen} is taken" if tuned.chosen else ": the project's own settings stay"
    )


def _selection(trial: SettingsTrial) -> str:
    """What was trained, by the ladder or not."""
    return trial.selection.partition(":")[0] if trial.selection.startswith("ladder") else trial.selection


def _colours(trials: Sequence[SettingsTrial]) -> Mapping[str, str]:
    names = sorted({_selection(trial) for trial in trials if trial.score is not None})
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _set_range(axis: Any, tuned: Tuned) -> None:
    """From the best score to the worst but for some; never without the project's own."""
    best_first = sorted(
        (trial for trial in tuned.trials if trial.loss is not None), key=lambda trial: trial.loss or 0.0
    )
    if not best_first:
        axis.set_ylim(0, 1)
        return
    shown = best_first[: max(1, math.ceil(len(best_first) * (1 - WORST)))]
    scores = [trial.score for trial in shown if trial.score is not None]
    own = tuned.trials[0].score
    scores += [own] if own is not None else []
    room = (max(scores) - min(scores)) * 0.08 or abs(max(scores)) * 0.02 or 0.01
    axis.set_ylim(min(scores) - room, max(scores) + room)


def _inside(axis: Any, score: float) -> tuple[float, str]:
    """Where a score is drawn, and by what: at the edge, as an arrow, if it lies beyond."""
    low, high = axis.get_ylim()
    room = (high - low) * 0.02
    if score < low:
        return low + room, "v"
    return (high - room, "^") if score > high else (score, "o")


def _dot(axis: Any, x: float, trial: SettingsTrial, tuned: Tuned, colours: Mapping[str, str]) -> None:
    assert trial.score is not None
    height, marker = _inside(axis, trial.score)
    taken = trial.number == tuned.chosen
    axis.scatter(
        [x],
        [height],
        s=95 if taken else 42,
        marker=marker,
        color=colours[_selection(trial)],
        edgecolors=INK if taken else "white",
        linewidths=1.8 if taken else 0.6,
        zorder=4 if taken else 3,
    )


def _draw_course(axis: Any, tuned: Tuned, colours: Mapping[str, str]) -> None:
    best: list[float] = []
    numbers = []
    lowest = math.inf
    low = axis.get_ylim()[0]
    for trial in tuned.trials:
        if trial.score is None or trial.loss is None:
            axis.scatter([trial.number], [low], marker="x", s=40, color=PALE, zorder=3, clip_on=False)
        else:
            if trial.loss < lowest:
                lowest = trial.loss
                best.append(trial.score)
            else:
                best.append(best[-1])
            numbers.append(trial.number)
            _dot(axis, trial.number, trial, tuned, colours)
    if best:
        axis.step(numbers, best, where="post", color=INK, linewidth=1.2, zorder=2, label="best so far")
    axis.set_xlabel("trial")
    axis.set_xlim(-0.7, max(len(tuned.trials), 2) - 0.3)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if any(trial.score is None for trial in tuned.trials):
        axis.scatter([], [], marker="x", s=40, color=PALE, label="pruned")


def _draw_rates(axis: Any, tuned: Tuned, colours: Mapping[str, str]) -> None:
    looped = [trial for trial in tuned.trials if trial.score is not None and trial.learning_rate is not None]
    for trial in looped:
        assert trial.learning_rate is not None
        _dot(axis, trial.learning_rate, trial, tuned, colours)
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    if not looped:
        axis.set_xlim(1e-4, 1e-2)
        axis.text(0.5, 0.5, "no trial had a loop", transform=axis.transAxes, ha="center", color=PALE)


def _draw_selections(axis: Any, tuned: Tuned, colours: Mapping[str, str]) -> None:
    for place, name in enumerate(colours):
        same = [trial for trial in tuned.trials if trial.score is not None and _selection(trial) == name]
        for order, trial in enumerate(same):
            spread = 0.0 if len(same) == 1 else (order / (len(same) - 1) - 0.5) * 0.5
            _dot(axis, place + spread, trial, tuned, colours)
    axis.set_xticks(range(len(colours)), [name.replace("@", "\n") for name in colours])
    axis.set_xlim(-0.6, max(len(colours), 1) - 0.4)
    axis.set_xlabel("selection")


def _tidy(axis: Any, tuned: Tuned) -> None:
    own = tuned.trials[0].score
    if own is not None:
        axis.axhline(own, color=OWN, linestyle="--", linewidth=1.2, zorder=1, label="the project's own")
    axis.grid(axis="y", color="#e6e9eb", linewidth=0.8, zorder=0)
    axis.tick_params(colors=INK, labelsize=9)
    axis.xaxis.label.set_color(INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(PALE)


def _legend(figure: Any, axis: Any) -> None:
    axis.scatter([], [], s=95, color="white", edgecolors=INK, linewidths=1.8, label="taken")
    figure.legend(
        *axis.get_legend_handles_labels(), loc="upper right", ncols=4, fontsize=9, frameon=False, labelcolor=INK
    )
