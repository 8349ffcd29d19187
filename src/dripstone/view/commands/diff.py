"""``dripstone diff``: two versions, tensor by tensor and answer by answer."""

from __future__ import annotations

import click

from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, short, table


@click.command("diff")
@click.argument("old", metavar="V")
@click.argument("new", metavar="W", default="live")
@format_option
@click.pass_obj
def command(project: str, old: str, new: str, format: str) -> None:
    """Changed tensors by block, and the answers that flipped on trusted rows, from V to W."""
    learner = open_learner(project)
    found = learner.diff(learner.repository.resolve(old), learner.repository.resolve(new))
    tensors = table(
        ["block", "tensor", "elements changed"],
        [[t["block"], t["name"], f"{t['changed']:,} of {t['elements']:,}"] for t in found["tensors"]],
    )
    flips = found["flips"]
    human = (
        f"{short(found['old'])} -> {short(found['new'])}\n{tensors}\n"
        f"on {flips['rows']} trusted rows: {flips['better']} got right, {flips['worse']} got wrong, "
        f"{flips['other']} wrong in another way"
    )
    Output(format).data(found, human)
