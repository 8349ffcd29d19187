"""``dripstone show``: one version."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from dripstone.core.examples import plain_target
from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, excerpt, fields, moment, plain, short, table, wrap

"""Characters of a text that are shown."""

if TYPE_CHECKING:
    from dripstone.store.repository import Repository


@click.command("show")
@click.argument("version", default="live", metavar="V")
@click.option("--examples", is_flag=True, help="Each row that V learned, was judged by or left out, and why.")
@format_option
@click.pass_obj
def command(project: str, version: str, examples: bool, format: str) -> None:
    """What moved in version V, from which rows, and how it was judged."""
    _, repository = open_store(project)
    full = repository.resolve(version)
    if examples:
        rows = read_examples(repository, full)
        Output(format).data({"version": full, "examples": rows}, _examples_to_text(rows))
        return
    facts = read_version(repository, full)
    Output(format).data(facts, _to_text(facts))


def _examples_to_text(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "no row: this version was not trained"
    became = Counter((row["role"], row["reason"]) for row in rows)
    counts = [
        f"{number:,} {role}" + (f": {plain(reason)}" if reason else "") for (role, reason), number in became.items()
    ]
    columns = ["row", "role", "target", "weight", "input", "from"]
    cells = [
        [
            short(row["id"]),
            row["role"],
            excerpt(row["target"]),
            f"{row['weight'] * row['factor']:.3g}",
            row["inputs"],
            row["origin"],
        ]
        for row in rows
    ]
    return "\n".join(counts) + "\n\n" + table(columns, [[plain(str(cell)) for cell in line] for line in cells])


def read_examples(repository: Repository, version: str) -> list[dict[str, Any]]:
    """The rows of the update that trained a version: what each was used for or, if it was not, why.

    ``weight`` is the user's, ``factor`` what curation multiplied it by; ``inputs`` are cut to a line.
    """
    from dripstone.update.lineage import update_rows

    return [
        {
            "id": row.id,
            "role": row.role,
            "reason": row.reason,
            "target": plain_target(row.target),
            "weight": row.weight,
            "factor": row.factor,
            "slice": row.slice,
            "origin": row.origin,
            "inputs": _excerpt(row.inputs),
        }
        for row in update_rows(repository, version)
    ]


def _excerpt(inputs: Any) -> str:
    return excerpt(inputs) if isinstance(inputs, str) else f"{'x'.join(map(str, inputs.shape))} numbers"


def _to_text(facts: dict[str, Any]) -> str:
    labels = facts["labels"]
    some = ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")
    judged = [
        wrap(plain(f"{record['verdict']}: {record['reason']}"), f"  {moment(record['time'])}  ")
        for record in facts["records"]
    ]
    values = {
        "version": facts["version"] + (" (live)" if facts["live"] else ""),
        **({"collected": f"by log entry {facts['collected']}: it can be used no more"} if facts["collected"] else {}),
        "parent": facts["parent"] or "-",
        "factory": facts["factory"],
        "selection": facts["selection"],
        "labels": f"{len(labels)}: {some}" if labels else "none yet",
    }
    if facts["records"]:
        rows, bytes_ = facts["records"][0]["examples"], facts["records"][0]["delta_bytes"]
        values["trained"] = f"{count(rows['trained'], 'row')}, {rows['replayed']} replayed, {bytes_:,} bytes stored"
    if facts["certificate"]:
        values["vouched for"] = plain(voucher(facts["certificate"]))
    tensors = table(
        ["changed tensor", "shape", "encoding"],
        [[t["name"], "x".join(map(str, t["shape"])) or "scalar", t["encoding"]] for t in facts["changed"]],
    )
    verdicts = "\n".join(["judged (UTC)", *judged]) if judged else "never judged"
    return "\n\n".join([fields(values), verdicts, tensors])


def voucher(certificate: dict[str, Any]) -> str:
    """Who says that a version may be live, and against what it was held."""
    source = {"gate": "the gate", "first": "nobody, nothing was live before it", "person": "a person"}
    source["champion"] = f"version {short(certificate['champion'])}, which it was grown from"
    text = source[certificate["source"]]
    if certificate["verdict"] == "unlearned":
        return f"a person, who had rows of {short(certificate['champion'])} unlearned: {certificate['reason']}"
    if certificate["source"] == "person":
        return f"{text}, against the gate or without it: {certificate['reason']}"
    if certificate["source"] == "champion":
        return f"{text}: {certificate['reason']}"
    if certificate["source"] == "first" or certificate["champion"] is None:
        return text
    if certificate["rules"]["mode"] == "off":
        return "nobody, the gate was off"
    text += f", on {certificate['fresh']['rows']:,} fresh and {certificate['trusted']['rows']:,} trusted rows"
    text += f", against {short(certificate['champion'])}"
    if certificate["anchor"] not in (None, certificate["champion"]):
        text += f" and {short(certificate['anchor'])}, the best version so far"
    spent = certificate["evidence"]["alpha_spent"]
    return f"{text}; alpha spent {spent:.2g}"


def read_certificate(repository: Repository, version: str) -> dict[str, Any] | None:
    """The certificate of a version that is or was live, as plain values; None where there is none."""
    import msgspec

    from dripstone.update.lineage import certificate_of

    found: dict[str, Any] | None = msgspec.to_builtins(certificate_of(repository, version))
    return found


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
        "collected": repository.deeds.versions().get(version),
        "task": manifest.task,
        "labels": manifest.labels,
        "selection": manifest.selection,
        "factory": manifest.spec.factory,
        "data": manifest.data,
        "merkle": manifest.merkle,
        "certificate": read_certificate(repository, version),
        "changed": changed,
        "records": [msgspec.to_builtins(record) for record in repository.records(version)],
    }
