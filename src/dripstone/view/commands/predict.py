"""``dripstone predict``: answers, a line a row."""

from __future__ import annotations

import click

from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, plain


@click.command("predict")
@click.argument("file", metavar="FILE")
@click.option("--version", "version", default="live", show_default=True, metavar="V", help="Which version.")
@format_option
@click.pass_obj
def command(project: str, file: str, version: str, format: str) -> None:
    """Answer the rows of FILE, which need no label."""
    from dripstone.stream.source import read

    out = Output(format)
    learner = open_learner(project)
    rows = read(file, learner.config.task, labelled=False)
    for row in learner.predict_scores(rows, learner.repository.resolve(version)):
        scores = row["scores"]
        out.data(row, f"{plain(str(row['prediction']))}\t{scores.get('log_probability', max(scores.values())):.4f}")
