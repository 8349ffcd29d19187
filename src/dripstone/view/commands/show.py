"""``dripstone show``: one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short, table

if TYPE_CHECKING:
    from dripstone.store.repository import Repository


@click.command("show")
@click.argument("version", default="live", metavar="V")
@format_option
@click.pass_obj
def command(project: str, version: str, format: str) -> None:
    """What moved in version V, from which rows, and how it was judged."""
    _, repository = open_store(project)
    facts = read_version(repository, repository.resolve(version))
    tensors = table(
        ["changed tensor", "shape", "encoding"],
        [[t["name"], "x".join(map(str, t["shape"])) or "scalar", t["encoding"]] for t in facts["changed"]],
    )
    judged = [f"  {r['time']}  {r['verdict']}: {r['reason']}" for r in facts["records"]] or ["  never judged"]
    human = "\n".join(
        [
            f"version    {facts['version']}",
            f"parent     {short(facts['parent'])}",
            f"selection  {facts['selection']}",
            f"labels     {len(facts['labels'])}: {', '.join(map(str, facts['labels'][:8]))}"
            + (" ..." if len(facts["labels"]) > 8 else ""),
            f"factory    {facts['factory']}",
            f"live       {'yes' if facts['live'] else 'no'}",
            "judged",
            *judged,
            tensors,
        ]
    )
    Output(format).data(facts, human)


def read_version(repository: Repository, version: str) -> dict[str, Any]:
    """The facts, as the JSON form has them."""
    import msgspec

    manifest = repository.manifest(version)
    old = repository.manifest(manifest.parent).tensors if manifest.parent else {}
    changed = [
        {"name": name, "dtype": entry.dtype, "shape": entry.shape, "encoding": entry.encoding, "digest": entry.digest}
        for name, entry in manifest.tensors.items()
        if name not in old or old[name].digest != entry.digest or old[name].shape != entry.shape
    ]
    return {
        "version": version,
        "parent": manifest.parent,
        "live": repository.log.head().version == version,
        "task": manifest.task,
        "labels": manifest.labels,
        "selection": manifest.selection,
        "factory": manifest.spec.factory,
        "data": manifest.data,
        "merkle": manifest.merkle,
        "changed": changed,
        "records": [msgspec.to_builtins(record) for record in repository.records(version)],
    }
