"""``dripstone evaluate``: a version on labelled rows."""

from __future__ import annotations

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, short, table


@click.command("evaluate")
@click.argument("file", metavar="FILE")
@click.option("--version", "version", default="live", show_default=True, metavar="V", help="Which version.")
@format_option
@click.pass_obj
def command(project: str, file: str, version: str, format: str) -> None:
    """Measure a version on FILE; a label that it does not know counts as wrong."""
    learner = open_learner(project)
    result = learner.evaluate(file, learner.repository.resolve(version))
    metrics = result["metrics"]
    whole = {name: "-" if value is None else f"{value:.4f}" for name, value in metrics.items() if name != "by_slice"}
    by_slice = [[name, f"{value:.4f}"] for name, value in metrics["by_slice"].items()]
    slices = f"\n\n{table(['slice', next(iter(whole))], by_slice)}" if by_slice else ""
    measured = ", ".join(f"{name} {value}" for name, value in whole.items())
    rows = count(result["examples"], "row")
    human = f"{measured} on {rows}, version {short(result['version'])}{slices}"
    Output(format).data(result, human)
