"""``dripstone revert``: an earlier version, live again."""

from __future__ import annotations

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short


@click.command("revert")
@click.argument("version", required=False, metavar="V")
@format_option
@click.pass_obj
def command(project: str, version: str | None, format: str) -> None:
    """Make V live again, or without V the version that was live before; twice comes back. Nothing is erased."""
    from dripstone.update.moves import revert

    _, repository = open_store(project)
    left = repository.log.head().version
    entry = revert(repository, version and repository.resolve(version))
    value = {"number": entry.number, "version": entry.version, "event": entry.event, "reason": entry.reason}
    Output(format).data(value, f"version {short(entry.version)} is live again, in place of {short(left)}")
