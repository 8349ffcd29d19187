"""``dripstone log``: every change of the store, newest first."""

from __future__ import annotations

from itertools import islice

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short, table


@click.command("log")
@click.option("-n", "count", type=click.IntRange(min=1), help="Only the newest.")
@format_option
@click.pass_obj
def command(project: str, count: int | None, format: str) -> None:
    """Every change of the store, newest first; an asterisk marks what is live."""
    _, repository = open_store(project)
    entries = list(islice(repository.log.entries(), count))
    live = entries[0].version
    value = [
        {
            "number": entry.number,
            "version": entry.version,
            "event": entry.event,
            "verdict": entry.verdict,
            "candidate": entry.candidate,
            "reason": entry.reason,
            "time": entry.time,
        }
        for entry in entries
    ]
    rows = [
        [
            str(entry.number),
            short(entry.candidate or entry.version) + ("*" if (entry.candidate or entry.version) == live else ""),
            entry.event,
            entry.verdict or "-",
            entry.time,
            entry.reason,
        ]
        for entry in entries
    ]
    Output(format).data(value, table(["#", "version", "event", "verdict", "time", "reason"], rows))
