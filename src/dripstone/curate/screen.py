"""Screening: which rows can be learned from at all, and for each that cannot, why."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from dripstone.core.examples import Example, Inputs, Label, Reply
from dripstone.core.records import Schema
from dripstone.curate.schema import oddity

MAX_TEXT = 1_000_000
MAX_LABEL = 200

LARGEST_NUMBER = 1e30
"""Of a target: its square fits float64 and many of these, and it fits float32 itself."""

UNREADABLE = 0.1
"""Share of a text's characters that may be control characters, or stand for bytes that could not be read."""

_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")


Targets = Literal["labels", "numbers", "texts", "replies"]


@dataclass(frozen=True, slots=True)
class Screen:
    """The policy ``screen``. With ``known``, rows of labels that the model does not know are rejected, if it knows any.

    Examples
    --------
    >>> Screen.parse([]), str(Screen.parse(["known"]))
    (Screen(known=False), 'screen:known')
    """

    FORMS: ClassVar[tuple[str, ...]] = ("screen", "screen:known")

    known: bool = False

    @classmethod
    def parse(cls, words: Sequence[str]) -> Screen | None:
        """The policy from the words after its name; None if they mean nothing."""
        return cls(bool(words)) if list(words) in ([], ["known"]) else None

    def __str__(self) -> str:
        return "screen:known" if self.known else "screen"


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
    examples: Iterable[Example],
    *,
    kind: str,
    shapes: Sequence[tuple[int, ...]] = (),
    labels: Collection[Label] = (),
    schema: Schema | None = None,
    known: bool = False,
    targets: Targets = "labels",
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
    labels : collection of str or int
        Labels known so far; new ones must be of their type. With none, the first row that stays sets it.
    schema : Schema, optional
        Bounds of what may come.
    known : bool
        Reject rows of other labels than these, if there are any.
    targets : str
        What targets are. Of ``"texts"`` a row may come without one, and is learned as a whole; of ``"replies"`` none.

    Examples
    --------
    >>> rows = [Example("a", "hello", "greet"), Example("b", " ", "greet"), Example("c", "bye", 3)]
    >>> [(row.id, why) for row, why in screen(rows, kind="text").rejected]
    [('b', 'the text is empty'), ('c', "the label is an integer where this model's labels are strings")]
    """
    result = Screened()
    label_type = next(map(_label_type, labels), None)
    allowed = set(labels) if known and labels else None
    for example in examples:
        reason = (
            inputs_reason(example.inputs, kind, shapes)
            or _oddity(example.inputs, schema)
            or _target_reason(example, targets, label_type)
            or _unknown_reason(example, allowed)
            or _weight_reason(example)
        )
        if reason:
            result.rejected.append((example, reason))
            continue
        label_type = label_type or (_label_type(example.target) if targets == "labels" else None)
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


def _target_reason(example: Example, targets: str, label_type: type | None) -> str | None:
    if targets == "numbers":
        return _number_reason(example)
    if targets == "labels":
        return _label_reason(example, label_type)
    return _reply_reason(example, required=targets == "replies")


def _reply_reason(example: Example, *, required: bool) -> str | None:
    target = example.target
    if target is None:
        return "the reply is missing" if required else None
    if not isinstance(target, Reply):
        return f"the reply is of type {type(target).__name__}, not a text"
    if not target.text.strip():
        return "the reply is empty"
    if len(target.text) > MAX_TEXT or not _encodable(target.text):
        return f"the reply is longer than {MAX_TEXT:,} characters or not text"
    return None


def _label_reason(example: Example, label_type: type | None) -> str | None:
    target = example.target
    if target is None or (isinstance(target, str) and not target):
        return "the label is missing"
    if isinstance(target, bool) or not isinstance(target, str | int):
        return f"the label is of type {type(target).__name__}, neither a string nor an integer"
    if isinstance(target, str) and (len(target) > MAX_LABEL or not _encodable(target)):
        return f"the label is longer than {MAX_LABEL} characters or not text"
    if isinstance(target, int) and not -(2**63) <= target < 2**63:
        return "the label does not fit 64 bits"
    if label_type is not None and not isinstance(target, label_type):
        kind, known = ("a string", "integers") if label_type is int else ("an integer", "strings")
        return f"the label is {kind} where this model's labels are {known}"
    return None


def _number_reason(example: Example) -> str | None:
    target = example.target
    if target is None or target == "":
        return "the target is missing"
    if not isinstance(target, float):
        return f"the target is of type {type(target).__name__}, not a number"
    if not abs(target) <= LARGEST_NUMBER:  # NaN fails as well
        return "the target is NaN, infinite or beyond 1e30"
    return None


def _oddity(inputs: Inputs, schema: Schema | None) -> str | None:
    """Why nobody should learn from inputs that a model could take."""
    if isinstance(inputs, str) and len(_UNREADABLE.findall(inputs)) > UNREADABLE * len(inputs):
        return "the text is not readable: control characters, or bytes in another encoding"
    return oddity(inputs, schema) if schema else None


def _unknown_reason(example: Example, allowed: Collection[Label] | None) -> str | None:
    if allowed is None or example.target in allowed:
        return None
    return "the label is not one that the model knows (screen:known)"


def _weight_reason(example: Example) -> str | None:
    if not math.isfinite(example.weight) or example.weight < 0:
        return "the weight is negative or not finite"
    return None
