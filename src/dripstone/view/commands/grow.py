"""``dripstone grow``: a larger model that answers as before."""

from __future__ import annotations

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, short

AMOUNT = click.IntRange(min=1)


@click.command("grow")
@click.option("--depth", type=AMOUNT, metavar="+N", help="Blocks to append after the last one.")
@click.option("--ffn", type=AMOUNT, metavar="+N", help="Hidden units to append in every feed-forward layer.")
@format_option
@click.pass_obj
def command(project: str, depth: int | None, ffn: int | None, format: str) -> None:
    """Append blocks or hidden units to the live model. It answers as before, and what was added learns from then on.

    The next updates move what was added and nothing else with --select grown, or whatever another selection says.
    """
    learner = open_learner(project)
    from dripstone.update.growing import grow

    growth = grow(learner.repository, learner.config, learner.champion(), depth=depth or 0, ffn=ffn or 0)
    entry = growth.entry
    value = {
        "number": entry.number,
        "version": entry.version,
        "event": entry.event,
        "reason": entry.reason,
        "parameters": {"before": growth.before, "after": growth.after},
        "delta_bytes": growth.delta_bytes,
    }
    text = (
        f"version {short(entry.version)} is live: {count(growth.after, 'parameter')} in place of {growth.before:,}, "
        f"{count(growth.delta_bytes, 'byte')} stored; it answers as before"
    )
    Output(format).data(value, text)
