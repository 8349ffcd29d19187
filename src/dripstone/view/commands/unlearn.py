"""``dripstone unlearn``: rows leave the store, and what is live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, fields, plain, short, table

if TYPE_CHECKING:
    from dripstone.core.records import Metrics
    from dripstone.core.unlearning import Unlearning

MAX_SHAPED = 20


@click.command("unlearn")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--dry-run", is_flag=True, help="Report, and change nothing.")
@format_option
@click.pass_context
def command(ctx: click.Context, ids: tuple[str, ...], dry_run: bool, format: str) -> None:
    """Take the rows of these ids out of the store, and out of what is live.

    The output layer is solved anew over the rows that are left. Versions that had learned the rows are collected: they
    can be used no more. An ID is that of the id column, or the hash of the inputs, as a whole ('dripstone show V
    --examples --format json' has them).

    Exit code 1 says that something of the rows is left in what is live: features that they shaped, or an output layer
    that has no closed form.
    """
    learner = open_learner(ctx.obj)
    report = learner.unlearn(ids, dry_run=dry_run)
    import msgspec

    Output(format).data(msgspec.to_builtins(report), _to_text(report))
    ctx.exit(0 if report.exact else 1)


def _to_text(report: Unlearning) -> str:
    did = "would be unlearned" if report.dry_run else "unlearned"
    live = f"version {short(report.version)} is live" if report.version else "a new version would be live"
    removed = ", ".join(f"{name} {number:,}" for name, number in report.removed.items() if number)
    values = {
        did: f"{count(len(report.ids), 'row')}; {live}",
        "why": report.reason,
        "removed": removed or "what was left to delete",
        "collected": ", ".join(map(short, report.collected)) or "no version",
        "trusted rows": _metrics(report),
        "bytes": f"{report.bytes_freed:,} freed, {report.delta_bytes:,} stored",
    }
    if report.labels:
        values["no row left"] = f"of label {', '.join(map(str, report.labels))}, which keeps its place"
    parts = [fields(values), *([_shaped(report)] if report.shaped else [])]
    if report.exact:
        parts.append("exact: nothing of these rows is left in what is live, given its features and hyperparameters")
    return "\n\n".join(parts)


def _metrics(report: Unlearning) -> str:
    before, after = _measure(report.metrics.champion), _measure(report.metrics.candidate)
    return f"{before} before, {after} after, on {report.trusted:,}" if before and after else "none to measure on"


def _measure(metrics: Metrics) -> str:
    for name, value in (("perplexity", metrics.perplexity), ("rmse", metrics.rmse), ("accuracy", metrics.accuracy)):
        if value is not None:
            return f"{name} {value:.4g}"
    return ""


def _shaped(report: Unlearning) -> str:
    """What is left of the rows, and what would take it out."""
    rows = [
        [plain(one.id), short(one.version), one.selection, short(one.retrain_from), f"{one.rows:,}"]
        for one in report.shaped[:MAX_SHAPED]
    ]
    more = len(report.shaped) - len(rows)
    rest = f"\nand {count(more, 'other')}; --format json has all" if more else ""
    commands = "\n".join(f"  {line}" for line in report.retrain)
    return (
        "not exact: what is live goes back to versions that these rows shaped\n"
        f"{table(['row', 'shaped', 'selection', 'retrain from', 'rows'], rows)}{rest}\n"
        f"to learn without them:\n{commands}"
    )
