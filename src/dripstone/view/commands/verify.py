"""``dripstone verify``: every byte of the store, and every judgement made again."""

from __future__ import annotations

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, plain


@click.command("verify")
@format_option
@click.pass_context
def command(ctx: click.Context, format: str) -> None:
    """Check every byte against its hash, and judge every candidate again."""
    config, repository = open_store(ctx.obj)
    problems = list(repository.verify())
    if not problems:  # what is damaged cannot be judged
        from dripstone.update.audit import audit

        problems = list(audit(repository, config))
    number = len(repository.versions())
    sound = f"sound: {count(number, 'version')}, every byte as written, every certificate as earned"
    human = "\n".join(map(plain, problems)) or sound
    Output(format).data({"sound": not problems, "versions": number, "problems": problems}, human)
    ctx.exit(2 if problems else 0)
