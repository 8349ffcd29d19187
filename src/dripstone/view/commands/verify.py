"""``dripstone verify``: every byte of the store."""

from __future__ import annotations

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output


@click.command("verify")
@format_option
@click.pass_context
def command(ctx: click.Context, format: str) -> None:
    """Check every log entry, manifest, object and ledger page against its hash."""
    _, repository = open_store(ctx.obj)
    problems = list(repository.verify())
    count = len(repository.versions())
    human = "\n".join(problems) if problems else f"sound: {count} versions, every byte as it was written"
    Output(format).data({"sound": not problems, "versions": count, "problems": problems}, human)
    ctx.exit(2 if problems else 0)
