"""``dripstone tune``: a search for the settings of the next update."""

from __future__ import annotations

import math
from typing import Any

import click

from dripstone.core.tuned import SettingsTrial, Tuned
from dripstone.view.options import format_option, open_learner, set_option
from dripstone.view.output import Output, fields, plain, table, wrap
from dripstone.view.progress import follow_search

SHOWN = 5
"""Trials in the table, besides the one of the project's own settings."""


@click.command("tune")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--trials", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Altogether.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Time: half of it for trials, the rest for the best ones again.",
)
@click.option("--picture", metavar="FILE.png", help="Where the picture goes; else into the folder tuning.")
@click.option("--dry-run", is_flag=True, help="Search and report, leave dripstone.toml as it is.")
@set_option
@format_option
@click.pass_obj
def command(
    project: str,
    files: tuple[str, ...],
    trials: int,
    seconds: float | None,
    picture: str | None,
    dry_run: bool,
    settings: dict[str, str],
    format: str,
) -> None:
    """Try settings of an update on FILEs, and write those that beat the present ones into dripstone.toml.

    Selection, learning rate, batch size and ridge are searched, and the activation of a model that has learned nothing
    yet. Of the rows that are not held out a fifth is tried, and not learned; the best few trials are made again with
    each of the other fifths, and decide by them. The same command goes on where an earlier one was stopped.

    A key that --set overrides holds for all trials; those of them that are searched begin from it, and only these are
    written. FILEs can be learned by 'dripstone update' afterwards. Needs: pip install 'dripstone[tune]'
    """
    out = Output(format)
    learner = open_learner(project, settings)
    events = learner.tune_events(files, trials, seconds, picture=picture, dry_run=dry_run)
    tuned = follow_search(events, show=out.format == "human")
    out.data(to_json(tuned), to_text(tuned, dry_run=dry_run))
    if tuned.written:
        out.note("next: dripstone update with the same rows learns them under these settings")


def to_json(tuned: Tuned) -> dict[str, Any]:
    """The report as the one JSON object that programs read."""
    import msgspec

    tree: dict[str, Any] = msgspec.to_builtins(tuned)
    return tree


def to_text(tuned: Tuned, *, dry_run: bool) -> str:
    """The report for a person."""
    rows, spent = tuned.rows, sum(trial.cpu_seconds for trial in tuned.trials)
    pruned = sum(trial.state == "pruned" for trial in tuned.trials)
    words = {
        "rows": f"{rows.learned:,} learned, {rows.tried:,} tried; of remembered ones {rows.remembered_learned:,} "
        f"and {rows.remembered_tried:,}",
        "trials": f"{len(tuned.trials):,} of {tuned.wanted:,}"
        + (f", {pruned:,} of them pruned" if pruned else "")
        + f", {spent:.2f} CPU-s",
        "activation": tuned.activation,
        "written": _written(tuned, dry_run),
        "picture": tuned.picture,
    }
    return "\n".join([wrap(plain(tuned.reason), rest="  "), _table(tuned), fields(words, indent="  ")])


def _written(tuned: Tuned, dry_run: bool) -> str:
    if tuned.written:
        return f"{settings_words(tuned.written)}, into dripstone.toml"
    if dry_run and tuned.chosen:
        return f"nothing, as it is a dry run; it would be {settings_words(tuned.changes)}"
    return "nothing"


def _table(tuned: Tuned) -> str:
    """The best trials, and the project's own settings. Those that were made again come first."""
    shown = sorted((trial for trial in tuned.trials if trial.loss is not None), key=_order)[:SHOWN]
    own = tuned.trials[0]
    shown += [own] if own not in shown else []
    header = ["  trial", tuned.score, "again", "lead", "CPU-s", "selection", "settings"]
    return table(header, [_cells(tuned, trial) for trial in shown])


def _order(trial: SettingsTrial) -> tuple[bool, float, int]:
    loss = trial.again.loss if trial.again else trial.loss
    return (trial.again is None, math.inf if loss is None else loss, trial.number)


def _cells(tuned: Tuned, trial: SettingsTrial) -> list[str]:
    taken = "> " if trial.number == tuned.chosen else "  "
    return [
        f"{taken}{trial.number}",
        "pruned" if trial.score is None else f"{trial.score:.4f}",
        "-" if trial.again is None else f"{trial.again.score:.4f}",
        _lead(trial),
        f"{trial.cpu_seconds:.2f}",
        trial.selection or "-",
        settings_words(trial.settings) or ("the project's own" if trial.number == 0 else "the same"),
    ]


def _lead(trial: SettingsTrial) -> str:
    """In standard errors, on the rows that it was tried on again, where it was."""
    measured = trial.again or trial
    if trial.number == 0 or measured.lead is None or measured.error is None:
        return "-"
    return f"{measured.lead / measured.error:+.1f}" if measured.error else "+0.0"


def settings_words(settings: dict[str, Any]) -> str:
    """Settings in a line, without their sections.

    Examples
    --------
    >>> settings_words({"train.learning_rate": 0.01, "train.ridge": None})
    'learning_rate = 0.01, no ridge'
    """
    named = ((key.rpartition(".")[2], value) for key, value in settings.items())
    return ", ".join(f"no {name}" if value is None else f"{name} = {value}" for name, value in named)
