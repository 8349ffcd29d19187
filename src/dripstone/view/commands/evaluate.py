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
    slices = table(["slice", "accuracy"], [[name, f"{value:.4f}"] for name, value in metrics["by_slice"].items()])
    rows = count(result["examples"], "row")
    human = f"accuracy {metrics['accuracy']:.4f} on {rows}, version {short(result['version'])}\n\n{slices}"
    Output(format).data(result, human)
