"""``dripstone update``: one update from files."""

from __future__ import annotations

import click

from dripstone.core.records import Metrics, Update, count
from dripstone.view.options import format_option, open_learner, set_option
from dripstone.view.output import Output, fields, plain, short, wrap
from dripstone.view.progress import follow


@click.command("update")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--select", help="What may move: ladder, head, suffix:k, rows:p, low_rank:r and others; with @METHOD.")
@click.option("--optimizer", help="Of the loop: adamw, sgd, muon and others.")
@click.option("--curate", help="Curation policies, as screen+replay:2000.")
@click.option("--gate", help="Mode of the gate: steady, better or off.")
@click.option("--every", type=click.IntRange(min=1), metavar="ROWS", help="An update for every so many rows.")
@click.option("--dry-run", is_flag=True, help="Train and report, ask no gate, change nothing.")
@set_option
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    select: str | None,
    optimizer: str | None,
    curate: str | None,
    gate: str | None,
    every: int | None,
    dry_run: bool,
    settings: dict[str, str],
    format: str,
) -> None:
    """Learn from FILEs (.jsonl, .ndjson, .csv; .parquet, .arrow, .feather with an extra), if that does no harm.

    With --every, files of any length are learned in several updates, each reported when it is committed. Several
    processes share the work where torchrun starts them: torchrun --nproc-per-node 2 -m dripstone update FILE...
    """
    from dripstone.core import processes
    from dripstone.core.config import short_settings

    chosen = {**settings, **short_settings(select=select, optimizer=optimizer, curate=curate, gate=gate)}
    code = 0
    with processes.joined():
        out = Output(format if processes.is_first() else "quiet")
        learner = open_learner(ctx.obj, chosen)
        for source in (files,) if every is None else learner.portions(files, every):
            update = follow(learner.update_events(source, dry_run=dry_run), show=out.format == "human")
            _warn(out, update)
            out.data(to_json(update), to_text(update, dry_run=dry_run))
            # The first process speaks for all: torchrun ends the others as soon as one ends with another code than 0.
            code = max(code, exit_code(update, dry_run=dry_run)) if processes.is_first() else 0
    ctx.exit(code)


def exit_code(update: Update, *, dry_run: bool) -> int:
    """0 promoted, unchanged or a dry run; 1 refused or undecided; 2 if there was no row to learn from but bad ones."""
    from dripstone.curate.noise import REASON

    rows = update.examples
    if update.verdict in ("promoted", "unchanged"):
        return 0
    if rows.received and rows.rejected == rows.received and not rows.trained and REASON not in update.rejections:
        return 2
    return 0 if dry_run else 1


def to_json(update: Update) -> dict[str, object]:
    """The report as the one JSON object that programs read."""
    import msgspec

    tree: dict[str, object] = msgspec.to_builtins(update)
    return tree


def to_text(update: Update, *, dry_run: bool = False) -> str:
    """The report for a person. Of a dry run no row waits afterwards, and the reason says all of its verdict."""
    rows, cost = update.examples, update.cost
    values = {}
    if update.version:
        values["version"] = f"{short(update.version)} from {short(update.parent)}, delta {update.delta_bytes:,} bytes"
    if update.selection:
        share = update.parameters.trained / max(update.parameters.total, 1)
        values["moved"] = f"{update.selection}, {share:.1%} of {update.parameters.total:,} parameters"
    values["rows"] = (
        f"{rows.received:,} received, {rows.rejected:,} rejected, {rows.trained:,} trained, "
        f"{rows.replayed:,} replayed, {rows.held_out:,} held out"
    )
    if update.new_labels:
        values["new"] = _named(update.new_labels)
    if not dry_run:
        values["waiting"] = f"{rows.pending:,} pending, {rows.quarantined:,} quarantined"
    values |= _measured(update)
    memory = cost.peak_memory_bytes / 2**20
    values["cost"] = (
        f"{cost.cpu_seconds:.2f} CPU-s ({cost.gate_cpu_seconds:.2f} of them the gate), {cost.wall_seconds:.2f} s, "
        f"peak {memory:,.0f} MiB"
    )
    verdict = "" if dry_run and update.version is None else f"{update.verdict}: "
    return wrap(verdict + plain(update.reason), rest="  ") + "\n" + fields(values, indent="  ")


def _measured(update: Update) -> dict[str, str]:
    """What was measured. Trusted rows have chosen the live version, so that fresh ones come first."""
    values = {}
    flips = update.flips
    for name, fresh, every, form, more in MEASURES:
        old, new = (_measure(side, fresh, every) for side in (update.metrics.champion, update.metrics.candidate))
        if new is not None:
            is_fresh = getattr(update.metrics.candidate, fresh) is not None
            rows = count(update.evidence.rows, "fresh row")
            where = rows if is_fresh else f"{count(flips.rows, 'held-out row')}, used before"
            before = "-" if old is None else format(old, form)
            values[name] = f"{before} -> {format(new, form)}{more} on {where}"
            values["flips"] = f"{flips.positive:,} for the better, {flips.negative:,} for the worse, of {flips.rows:,}"
            break
    if update.intrusion:
        values["intrusion"] = f"new labels take {update.intrusion:.1%} of the trusted rows"
    return values


MEASURES = (
    ("error", "fresh_rmse", "rmse", ".4g", ", root mean square,"),
    ("perplexity", "fresh_perplexity", "perplexity", ".4g", ""),
    ("accuracy", "fresh_accuracy", "accuracy", ".4f", ""),
)
"""Name, measures on fresh and on all held-out rows, how they are written; the first that there is says it."""


def _measure(metrics: Metrics, fresh: str, every: str) -> float | None:
    """The measure on fresh rows, or where there is none on all held-out ones."""
    found: float | None = getattr(metrics, fresh)
    return getattr(metrics, every) if found is None else found


def _warn(out: Output, update: Update) -> None:
    for words in update.drift.words if update.drift else ():
        out.warn(f"drift: {plain(words)}")
    for reason, number in update.rejections.items():
        out.warn(f"{count(number, 'row')} rejected: {plain(reason)}")
    if dropped := update.examples.dropped:
        out.warn(
            f"{count(dropped, 'pending row')} dropped, for want of room (store.pending); "
            "'dripstone data list' shows what waits"
        )


def _named(labels: list[str | int], most: int = 10) -> str:
    shown = ", ".join(plain(str(label)) for label in labels[:most])
    return f"{count(len(labels), 'label')}: {shown}" + (" ..." if len(labels) > most else "")
