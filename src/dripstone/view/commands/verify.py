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
    problems, unjudged = list(repository.verify()), []
    if not problems:  # what is damaged cannot be judged
        from dripstone.update.audit import find_all

        found = list(find_all(repository, config))
        problems = [text for problem, text in found if problem]
        unjudged = [text for problem, text in found if not problem]
    number = len(repository.versions())
    value = {"sound": not problems, "versions": number, "problems": problems, "unjudged": unjudged}
    Output(format).data(value, _to_text(number, problems, unjudged))
    ctx.exit(2 if problems else 0)


def _to_text(number: int, problems: list[str], unjudged: list[str]) -> str:
    sound = f"sound: {count(number, 'version')}, every byte as written, every certificate as earned"
    if unjudged:
        sound += f", but for {count(len(unjudged), 'judgement')} that cannot be made again:"
    return "\n".join(map(plain, problems or [sound, *unjudged]))
