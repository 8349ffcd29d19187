"""``dripstone init``: a project and its first version."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from dripstone.view.options import format_option, parse_arguments, set_option
from dripstone.view.output import Output, known, short


@click.command("init")
@click.argument("folder", metavar="DIR")
@click.option("--model", "factory", required=True, metavar="FACTORY", help="As dripstone.models:text_classifier.")
@click.option(
    "--model-arg",
    "arguments",
    multiple=True,
    callback=parse_arguments,
    metavar="K=V",
    help="An argument of the factory, as encoder=FOLDER or hidden=[64].",
)
@click.option("--task", default="classification", show_default=True, help="What an example means.")
@click.option("--input", "columns", multiple=True, metavar="COL", help="Column of the inputs; several make a vector.")
@click.option("--target", metavar="COL", help="Column of the label, number or reply; label where it is not given.")
@click.option("--data", metavar="FILE", help="Rows to train version 1 on.")
@click.option("--holdout", metavar="FILE", help="Rows that are held out for ever.")
@set_option
@format_option
@click.pass_obj
def command(
    project: str,
    folder: str,
    factory: str,
    arguments: dict[str, Any],
    task: str,
    columns: tuple[str, ...],
    target: str | None,
    data: str | None,
    holdout: str | None,
    settings: dict[str, str],
    format: str,
) -> None:
    """Make a project in DIR and its first version, trained on --data where it is given.

    With -C, DIR is inside that folder; FILEs are relative to the working directory.
    """
    from dripstone.learner import Learner
    from dripstone.models.factory import ModelSpec, build

    out = Output(format)
    spec = ModelSpec(factory, arguments)
    learner = Learner.create(
        Path(project) / folder,
        model=build(spec, {}, classes=0),
        task=task,
        input=columns[0] if len(columns) == 1 else list(columns) or None,
        target=target,
        data=data,
        holdout=holdout,
        settings=settings,
    )
    entry = learner.repository.log.head()
    manifest = learner.repository.manifest(entry.version)
    knows = known(manifest.task, len(manifest.labels))
    out.data(
        {"project": str(learner.project), "version": entry.version, "number": 1, "labels": manifest.labels},
        f"version {short(entry.version)} of {learner.project} is live; it knows {knows}",
    )
    folder_option = "" if learner.project == Path() else f" -C {shlex.quote(str(learner.project))}"
    out.note(f"next: dripstone{folder_option} update FILE")
