"""``dripstone demo``: the main job, end to end, on real data."""

from __future__ import annotations

from pathlib import Path

import click

from dripstone.core.errors import UsageError
from dripstone.view.options import format_option
from dripstone.view.output import Output


@click.command("demo")
@click.argument("name", type=click.Choice(["digits", "text", "lm"]), default="digits")
@click.option("--encoder", metavar="DIR_OR_ID", help="For text: a Hugging Face encoder, from a folder or the hub.")
@click.option("--data", metavar="FOLDER", help="For text: the folder of CLINC150 (data_full.json, domains.json).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits and shuffles.")
@click.option("--keep", metavar="DIR", help="Make the project here and leave it, in place of a temporary folder.")
@format_option
@click.pass_context
def command(
    ctx: click.Context, name: str, encoder: str | None, data: str | None, seed: int, keep: str | None, format: str
) -> None:
    """A class-incremental stream: five stages of digits, or ten of questions to an assistant; or a language model.

    New labels appear, a batch with shuffled labels is refused, a version is reverted, and live moves under a client.
    The language model learns Python's standard library, then the prose of its docstrings, and keeps what it knew.
    """
    if name == "lm":
        from dripstone.view.demo import language

        found = language.tell(seed, Path(keep) if keep else None, Output(format))
        verdicts = [row["verdict"] for row in found["stages"]]
        ctx.exit(0 if verdicts == ["promoted", "refused", "promoted"] and found["same_bits"] else 1)
    from dripstone.view.demo.digits import digits_stream
    from dripstone.view.demo.story import tell

    if name == "text":
        from dripstone.view.demo.text import text_stream

        if not encoder or not data:
            raise UsageError("the text demo needs an encoder and data", remedy="give --encoder and --data")
        stream = text_stream(encoder, Path(data), seed)
    else:
        stream = digits_stream(seed)
    result = tell(stream, Path(keep) if keep else None, Output(format))
    honest = all(row["verdict"] == "promoted" for row in result.rows[:-1])
    sound = result.refusal["verdict"] == "refused" and result.revert["same_bits"] and result.swap["failed"] == 0
    ctx.exit(0 if honest and sound else 1)
