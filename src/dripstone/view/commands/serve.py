"""``dripstone serve``: the live version over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from dripstone.view.options import format_option, set_option
from dripstone.view.output import Output


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any free one.")
@set_option
@format_option
@click.pass_obj
def command(project: str, port: int | None, settings: dict[str, str], format: str) -> None:
    """Answer POST /predict and GET /healthz with what is live, and follow it when it moves."""
    from dripstone.core.config import load_config
    from dripstone.serve.run import bind

    chosen: dict[str, object] = {**settings}
    if port is not None:
        chosen["serve.port"] = port
    server = bind(Path(project), load_config(Path(project)).override(chosen))
    out = Output(format)
    if format == "json":
        out.data({"url": server.url}, "")
    out.note(f"serving on {server.url}")
    server.run()
