"""The example: one row of a stream, and the two hashes that follow it through life."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np


class Reply(msgspec.Struct, frozen=True):
    """A text that should follow the inputs: the target of a row that a language model learns, and no label.

    Examples
    --------
    >>> label_of(Reply("yes")) is None
    True
    """

    text: str


Label = str | int
Target = str | int | float | Reply
"""What a row should be answered with: a label; where the task is regression a number, always a float; or a text."""

Inputs = str | np.ndarray


class Exchange(NamedTuple):
    """A prompt and the reply to it, as a language model reads them."""

    prompt: str
    reply: str


Content = Inputs | Exchange
"""What a model reads of a row: its inputs, and where the target is a text that as well."""

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One row: what the model sees, what it should answer, and where the row came from.

    Parameters
    ----------
    id : str
        Identity of the row. The same id with another target is a correction.
    inputs : str or numpy.ndarray
        A text, or a float32 array of any shape.
    target : str or int or float or Reply or None
        The label, a number as a float, or a text; None for a row that only asks for a prediction, and for a text that
        a language model learns as a whole.
    weight : float
        Relative weight in training, finite and not negative.
    time : str or None
        When the row was observed, as the stream wrote it.
    slice : str or None
        A named subset on which the gate watches for harm.
    origin : str
        Where the row was read, for messages: ``"day-1.jsonl:17"``.
    factor : float
        What curation multiplies the weight by in training.

    Examples
    --------
    >>> row = Example(id=content_id("hello"), inputs="hello", target="greet")
    >>> row.id == content_id("hello"), row.weight
    (True, 1.0)
    """

    id: str
    inputs: Inputs
    target: Target | None = None
    weight: float = 1.0
    time: str | None = None
    slice: str | None = None
    origin: str = ""
    factor: float = 1.0

    @property
    def training_weight(self) -> float:
        """What the row counts in training: the user's weight, and what curation made of it."""
        return self.weight * self.factor

    @property
    def content(self) -> Content:
        """What a model reads of the row."""
        return Exchange(str(self.inputs), self.target.text) if isinstance(self.target, Reply) else self.inputs


def label_of(target: Target | None) -> Label | None:
    """The label by which rows are parted, counted and kept; None for a number or a text, and for no target.

    Examples
    --------
    >>> label_of("greet"), label_of(3), label_of(3.0)
    ('greet', 3, None)
    """
    return None if isinstance(target, float | Reply) else target


def labels_of(targets: Iterable[Target | None]) -> list[Label]:
    """The labels among targets, in order."""
    return [label for target in targets if (label := label_of(target)) is not None]


def plain_target(target: Target | None) -> str | int | float | None:
    """A target as a person and JSON have it: of a reply its text.

    Examples
    --------
    >>> plain_target(Reply("yes")), plain_target(3)
    ('yes', 3)
    """
    return target.text if isinstance(target, Reply) else target


def text_length(content: str | Exchange) -> int:
    """Characters of a text, or of an exchange.

    Examples
    --------
    >>> text_length("abc"), text_length(Exchange("1 + 1", "2"))
    (3, 6)
    """
    return len(content) if isinstance(content, str) else len(content.prompt) + len(content.reply)


def content_id(inputs: Content, number: float | None = None) -> str:
    """Hash of the exact inputs: the default id of a row, 32 hexadecimal digits.

    Where a row's target is a ``number``, it is hashed, too: two measurements of one thing are two rows, where a second
    label of one thing corrects the first.
    """
    digest = hashlib.sha256()
    if number is not None:
        digest.update(b"number\0" + float(number).hex().encode() + b"\0")
    if isinstance(inputs, Exchange):
        digest.update(b"exchange\0" + f"{len(inputs.prompt)}\0{''.join(inputs)}".encode("utf-8", "surrogatepass"))
    elif isinstance(inputs, str):
        digest.update(b"text\0" + inputs.encode("utf-8", "surrogatepass"))
    else:
        array = np.ascontiguousarray(inputs, dtype="<f4")
        digest.update(b"array\0" + repr(array.shape).encode() + b"\0" + array.tobytes())
    return digest.hexdigest()[:32]


def normal_form(inputs: Inputs) -> bytes:
    """What near duplicates share: of a text, case, accents and punctuation do not count; of a number, its last digits.

    Numbers are rounded to 10 binary digits of their own, or to 20 of the largest one's where that is coarser: relative,
    so that rows of small numbers do not all look alike. A pair on two sides of a rounding border is told apart.

    Examples
    --------
    >>> normal_form("Where is my  card?") == normal_form("where is my card")
    True
    >>> normal_form(np.array([1.0, 2.0])) == normal_form(np.array([1.00001, 2.0]))
    True
    """
    if isinstance(inputs, str):
        folded = unicodedata.normalize("NFKD", inputs).casefold()
        without_accents = "".join(c for c in folded if not unicodedata.combining(c))
        words = _NOT_WORD.sub(" ", without_accents).strip()
        return b"text\0" + (words or inputs).encode("utf-8", "surrogatepass")
    return b"array\0" + repr(inputs.shape).encode() + b"\0" + _rounded(inputs).tobytes()


def _rounded(inputs: np.ndarray) -> np.ndarray:
    values = np.asarray(inputs, dtype=np.float64)
    _, exponents = np.frexp(values)
    _, largest = np.frexp(np.abs(values).max(initial=0.0))  # not the largest exponent: that of 0 is 0
    steps = np.ldexp(1.0, np.maximum(exponents - 10, largest - 20))
    with np.errstate(over="ignore"):  # the largest float32 numbers round to infinity, which is as good a hash
        return (np.round(values / steps) * steps + 0.0).astype("<f4")  # adding 0.0 turns -0.0 into 0.0


def holdout_hash(key: bytes, inputs: Inputs) -> int:
    """A keyed 64-bit hash of the inputs' normal form. Only the holder of ``key`` can aim for a side.

    Hashing the normal form, not the id, keeps a row that is sent again under another id, or with another comma, on
    the side where it was first.
    """
    digest = hmac.new(key, normal_form(inputs), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def is_held_out(key: bytes, inputs: Inputs, share: float) -> bool:
    """Whether the row belongs to the held-out ``share`` (0 to 1), today and for ever.

    Examples
    --------
    >>> rows = [f"question {i}" for i in range(2000)]
    >>> 0.17 < sum(is_held_out(b"k" * 32, row, 0.2) for row in rows) / 2000 < 0.23
    True
    """
    return holdout_hash(key, inputs) < share * 2**64


def ids_digest(ids: Iterable[str]) -> str:
    """SHA-256 over ids in their order, each preceded by its length: which rows they were, in 64 hexadecimal digits.

    Examples
    --------
    >>> ids_digest(["a", "bc"]) == ids_digest(["ab", "c"])
    False
    """
    digest = hashlib.sha256()
    for row_id in ids:
        data = row_id.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
