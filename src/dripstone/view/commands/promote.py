"""``dripstone promote``: a person overrules the gate."""

from __future__ import annotations

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, plain, short


@click.command("promote")
@click.argument("version", metavar="V")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the log.")
@format_option
@click.pass_obj
def command(project: str, version: str, reason: str, format: str) -> None:
    """Make V live although the gate has not, and record the reason."""
    from dripstone.update.moves import promote

    _, repository = open_store(project)
    entry = promote(repository, repository.resolve(version), reason)
    value = {"number": entry.number, "version": entry.version, "event": entry.event, "reason": entry.reason}
    Output(format).data(value, f"version {short(entry.version)} is live, promoted by hand: {plain(entry.reason)}")
