"""``dripstone verify``: every byte of the store."""

from __future__ import annotations

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, plain


@click.command("verify")
@format_option
@click.pass_context
def command(ctx: click.Context, format: str) -> None:
    """Check every log entry, manifest, object and ledger page against its hash."""
    _, repository = open_store(ctx.obj)
    problems = list(repository.verify())
    number = len(repository.versions())
    sound = f"sound: {count(number, 'version')}, every byte as it was written"
    human = "\n".join(map(plain, problems)) or sound
    Output(format).data({"sound": not problems, "versions": number, "problems": problems}, human)
    ctx.exit(2 if problems else 0)
