"""``dripstone export``: what updates of low rank have added, as an adapter that other libraries load."""

from __future__ import annotations

from pathlib import Path

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short


@click.command("export")
@click.argument("version", metavar="V")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--as", "kind", type=click.Choice(["peft"]), default="peft", show_default=True, help="In which form.")
@format_option
@click.pass_obj
def command(project: str, version: str, folder: Path, kind: str, format: str) -> None:
    """Write the products of low rank that led to version V as an adapter, into FOLDER.

    It goes on top of the network as it was before the first of the low_rank updates that follow one another up to V.
    """
    _, repository = open_store(project)
    from dripstone.exporting import export_adapter

    adapter = export_adapter(repository, repository.resolve(version), folder)
    value = {**adapter._asdict(), "folder": str(folder), "as": kind}
    text = (
        f"{folder}: {count(adapter.layers, 'layer')} of {count(adapter.updates, 'update')}, {adapter.bytes:,} bytes, "
        f"to go on top of version {short(adapter.base)}"
    )
    Output(format).data(value, text)
