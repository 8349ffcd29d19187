"""``dripstone log``: every change of the store, newest first."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, moment, plain, short, table, wrap

if TYPE_CHECKING:
    from dripstone.core.records import LogEntry


@click.command("log")
@click.option("-n", "count", type=click.IntRange(min=1), help="Only the newest.")
@format_option
@click.pass_obj
def command(project: str, count: int | None, format: str) -> None:
    """Every change of the store, newest first; an asterisk marks what is live."""
    _, repository = open_store(project)
    entries = list(islice(repository.log.entries(), count))
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
    Output(format).data(value, _to_text(entries))


def _to_text(entries: list[LogEntry]) -> str:
    """A line an entry, and its reason below."""
    named = [_named(entry) for entry in entries]
    live = named.index(entries[0].version) if entries[0].version in named else None
    rows = [
        [
            str(entry.number),
            short(version) + ("*" if index == live else ""),
            entry.event,
            entry.verdict or "-",
            moment(entry.time),
        ]
        for index, (entry, version) in enumerate(zip(entries, named, strict=True))
    ]
    header, *lines = table(["#", "version", "event", "verdict", "time (UTC)"], rows).split("\n")
    indent = " " * (max(len(row[0]) for row in rows) + 2)
    return "\n".join([header, *(f"{x}\n{wrap(plain(y.reason), indent)}" for x, y in zip(lines, entries, strict=True))])


def _named(entry: LogEntry) -> str | None:
    """The version that an entry is about; none where no candidate was trained, or only rows moved."""
    return entry.candidate if entry.event in ("update", "data", "unlearn") else entry.version
