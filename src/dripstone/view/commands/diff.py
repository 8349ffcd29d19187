"""``dripstone diff``: two versions, tensor by tensor and answer by answer."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_learner
from dripstone.view.output import Output, short, table

MAX_FLIPS = 20


@click.command("diff")
@click.argument("old", metavar="V")
@click.argument("new", metavar="W", default="live")
@format_option
@click.pass_obj
def command(project: str, old: str, new: str, format: str) -> None:
    """Changed tensors by block, and the answers that flipped on trusted rows, from V to W."""
    learner = open_learner(project)
    found = learner.diff(learner.repository.resolve(old), learner.repository.resolve(new))
    parts = [f"{short(found['old'])} -> {short(found['new'])}", _tensors(found["tensors"]), _flips(found)]
    Output(format).data(found, "\n\n".join(parts))


def _tensors(changed: list[dict[str, Any]]) -> str:
    if not changed:
        return "no tensor differs"
    rows = [[t["block"], t["name"], f"{t['changed']:,}", f"{t['elements']:,}"] for t in changed]
    return table(["block", "tensor", "changed", "elements"], rows)


def _flips(found: dict[str, Any]) -> str:
    """How many answers flipped, and which to which, the commonest first."""
    flips = found["flips"]
    if not flips["rows"]:
        return "no trusted rows to compare answers on"
    if flips["kind"] in ("causal_lm", "seq2seq"):
        return _perplexities(found)
    total = (
        f"on {count(flips['rows'], 'trusted row')}: {flips['better']} now right, {flips['worse']} now wrong, "
        f"{flips['other']} wrong in another way"
    )
    kinds = Counter((str(f["target"]), _answer(f["old"]), _answer(f["new"])) for f in flips["flipped"])
    if not kinds:
        return total
    rows = [[*kind, f"{number:,}"] for kind, number in kinds.most_common(MAX_FLIPS)]
    rest = len(kinds) - len(rows)
    more = f"\nand {count(rest, 'other kind')} of flips; --format json has all" if rest else ""
    return f"{total}\n{table(['label', short(found['old']), short(found['new']), 'rows'], rows)}{more}"


def _perplexities(found: dict[str, Any]) -> str:
    """Of how many texts the perplexity fell or rose, and where it changed most."""
    flips = found["flips"]
    total = (
        f"on {count(flips['rows'], 'trusted text')}: the perplexity of {flips['better']} fell and that of "
        f"{flips['worse']} rose, by more than 2 %"
    )
    changed = sorted(flips["flipped"], key=lambda f: (f["new"] or math.inf) / (f["old"] or math.inf), reverse=True)
    shown = changed if len(changed) <= MAX_FLIPS else changed[: MAX_FLIPS // 2] + changed[-MAX_FLIPS // 2 :]
    if not shown:
        return total
    rows = [[short(f["id"]), *("-" if f[side] is None else f"{f[side]:.4g}" for side in ("old", "new"))] for f in shown]
    rest = len(changed) - len(shown)
    more = f"\nand {count(rest, 'other text')} between; --format json has all" if rest else ""
    return f"{total}\n{table(['text', short(found['old']), short(found['new'])], rows)}{more}"


def _answer(label: str | int | None) -> str:
    return "-" if label is None else str(label)
