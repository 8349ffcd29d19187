"""Two versions side by side: which tensors differ, and which answers flipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.examples import plain_target
from dripstone.core.fork import named_tensors
from dripstone.store.ledger import PageRow
from dripstone.train.features import features_of, outputs_of
from dripstone.update.champion import Champion


def compare_tensors(old: nn.Module, new: nn.Module) -> list[dict[str, Any]]:
    """Tensors whose bits differ: block, name, shapes, how many elements of how many.

    Elements that only one of both has, because a layer has grown or is smaller again, count as changed; so do tensors.

    Examples
    --------
    >>> one, two = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> two.load_state_dict({"weight": one.weight + torch.tensor([[0.0, 1.0]]), "bias": one.bias})
    <All keys matched successfully>
    >>> [(row["name"], row["changed"], row["elements"]) for row in compare_tensors(one, two)]
    [('weight', 1, 2)]
    """
    before, after = named_tensors(old), named_tensors(new)
    blocks = list(dict.fromkeys(find_blocks(new) + find_blocks(old)))
    rows = []
    for name in after | before:
        changed, elements = _changed(before.get(name), after.get(name))
        if changed:
            rows.append(
                {
                    "block": _block(name, blocks),
                    "name": name,
                    "old_shape": list(before[name].shape) if name in before else None,
                    "new_shape": list(after[name].shape) if name in after else None,
                    "changed": changed,
                    "elements": elements,
                }
            )
    return rows


def _changed(old: torch.Tensor | None, new: torch.Tensor | None) -> tuple[int, int]:
    """How many elements differ, and how many both have together."""
    if new is None:
        old, new = None, old
        assert new is not None
    if old is None or old.dtype != new.dtype or old.dim() != new.dim():
        return new.numel(), new.numel()
    common = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, new.shape, strict=True))
    a, b = old[common].contiguous().reshape(-1), new[common].contiguous().reshape(-1)
    width = new.element_size()
    differ = (a.view(torch.uint8).reshape(len(a), width) != b.view(torch.uint8).reshape(len(b), width)).any(dim=1)
    elements = old.numel() + new.numel() - len(b)
    return elements - len(b) + int(differ.sum()), elements


def _block(name: str, blocks: list[str]) -> str:
    return next((block for block in blocks if name.startswith(block + ".")), name.partition(".")[0])


def compare_answers(old: Champion, new: Champion, rows: list[PageRow]) -> dict[str, Any]:
    """Answers that flipped on held-out rows: how many for the better, for the worse, from wrong to wrong, and which.

    Numbers flip where they differ by more than the old version's usual error, perplexities of texts by more than 2 %.
    """
    examples = [row.example() for row in rows]
    answered = []
    for version in (old, new):
        logits = outputs_of(version.model, features_of(version.model, [example.content for example in examples]))
        answered.append(version.task.answers(logits))
    flips = [
        {"id": example.id, "target": plain_target(example.target), "old": a, "new": b}
        for example, a, b in zip(examples, *answered, strict=True)
        if not old.task.same(a, b)
    ]
    better = sum(old.task.better(flip["new"], flip["old"], flip["target"]) for flip in flips)
    worse = sum(old.task.better(flip["old"], flip["new"], flip["target"]) for flip in flips)
    return {
        "kind": old.task.kind,
        "rows": len(rows),
        "better": better,
        "worse": worse,
        "other": len(flips) - better - worse,
        "flipped": flips,
    }
