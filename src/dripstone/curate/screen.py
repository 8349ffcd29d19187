"""Screening: which rows can be learned from at all, and for each that cannot, why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dripstone.core.examples import Example, Inputs, Label

MAX_TEXT = 1_000_000
MAX_LABEL = 200


@dataclass(slots=True)
class Screened:
    """Rows that stay, and rows that do not, each with its reason."""

    kept: list[Example] = field(default_factory=list)
    rejected: list[tuple[Example, str]] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """Count of rejected rows by reason."""
        counts: dict[str, int] = {}
        for _, reason in self.rejected:
            counts[reason] = counts.get(reason, 0) + 1
        return counts


def screen(
    examples: Iterable[Example], *, kind: str, shapes: Sequence[tuple[int, ...]] = (), labels: Iterable[Label] = ()
) -> Screened:
    """Part the rows that a model can learn from, from those that it cannot.

    Parameters
    ----------
    examples : iterable of Example
        Rows as they arrived.
    kind : str
        ``"text"`` or ``"array"``: what the model takes.
    shapes : sequence of tuple of int
        Shapes that an array may have; none means that the first row that stays sets it.
    labels : iterable of str or int
        Labels known so far; new ones must be of their type. With none, the first row that stays sets it.

    Examples
    --------
    >>> rows = [Example("a", "hello", "greet"), Example("b", " ", "greet"), Example("c", "bye", 3)]
    >>> [(row.id, why) for row, why in screen(rows, kind="text").rejected]
    [('b', 'the text is empty'), ('c', "the label is an integer where this model's labels are strings")]
    """
    result = Screened()
    label_type = next(map(_label_type, labels), None)
    for example in examples:
        reason = (
            inputs_reason(example.inputs, kind, shapes) or _label_reason(example, label_type) or _weight_reason(example)
        )
        if reason:
            result.rejected.append((example, reason))
            continue
        label_type = label_type or _label_type(example.target)
        if not shapes and not isinstance(example.inputs, str):
            shapes = [example.inputs.shape]
        result.kept.append(example)
    return result


def inputs_reason(inputs: Inputs, kind: str, shapes: Sequence[tuple[int, ...]]) -> str | None:
    """Why a model of this kind cannot take these inputs; None if it can.

    Examples
    --------
    >>> inputs_reason(np.array([np.nan]), "array", [(1,)])
    'the input holds NaN or infinity'
    """
    if isinstance(inputs, str):
        if kind != "text":
            return "the input is a text where this model takes numbers"
        if not inputs.strip():
            return "the text is empty"
        if len(inputs) > MAX_TEXT:
            return f"the text is longer than {MAX_TEXT:,} characters"
        return None if _encodable(inputs) else "the text holds half a character (a lone surrogate)"
    if kind == "text":
        return "the input is a list of numbers where this model takes a text"
    if inputs.size == 0:
        return "the input is empty"
    if not np.isfinite(inputs).all():
        return "the input holds NaN or infinity"
    if shapes and inputs.shape not in shapes:
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        return f"the input has shape {list(inputs.shape)} where this model takes {wanted}"
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _label_type(label: object) -> type:
    return str if isinstance(label, str) else int


def _label_reason(example: Example, label_type: type | None) -> str | None:
    target = example.target
    if target is None or (isinstance(target, str) and not target):
        return "the label is missing"
    if isinstance(target, bool) or not isinstance(target, str | int):
        return f"the label is of type {type(target).__name__}, neither a string nor an integer"
    if isinstance(target, str) and (len(target) > MAX_LABEL or not _encodable(target)):
        return f"the label is longer than {MAX_LABEL} characters or not text"
    if isinstance(target, int) and abs(target) >= 2**63:
        return "the label does not fit 64 bits"
    if label_type is not None and not isinstance(target, label_type):
        kind, known = ("a string", "integers") if label_type is int else ("an integer", "strings")
        return f"the label is {kind} where this model's labels are {known}"
    return None


def _weight_reason(example: Example) -> str | None:
    if not math.isfinite(example.weight) or example.weight < 0:
        return "the weight is negative or not finite"
    return None
