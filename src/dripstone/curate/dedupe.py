"""Duplicates: rows that say what an earlier one says, and inputs that come under two labels.

Looked for among the rows of the batch and the newest 10,000 before it, so that an update costs the same whatever the
length of the stream; nothing is computed of a duplicate. A correction, a row whose id is known, is none.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dripstone.core.examples import Inputs, Target, content_id, normal_form
from dripstone.core.records import Schema
from dripstone.curate.minhash import NUMBERS as TEXT_NUMBERS
from dripstone.curate.minhash import are_texts_alike, sketch_texts, text_buckets
from dripstone.curate.projections import NUMBERS as ARRAY_NUMBERS
from dripstone.curate.projections import are_arrays_near, array_buckets, sketch_arrays, usual_distance

REMEMBERED = 10_000
"""Rows of the past among which duplicates are looked for."""

ALIKE = 0.8
"""Share of their pieces that near duplicates have in common, of texts."""

NEAR = 0.1
"""Distance of near duplicates, of arrays, in units of the usual distance of a row to the nearest other one."""

COMPARED = 8
"""Earlier rows of its bucket and label with which a row is compared, the latest ones of those that stay."""

EXACT = "a duplicate: an earlier row has the same input and label"
CLOSE = "a near duplicate of an earlier row with its label"
CONFLICT = "a conflict: the same input came under two labels"


@dataclass(frozen=True, slots=True)
class Dedupe:
    """The policy ``dedupe``.

    Examples
    --------
    >>> Dedupe.parse([]), Dedupe.parse(["fast"])
    (Dedupe(), None)
    """

    FORMS: ClassVar[tuple[str, ...]] = ("dedupe",)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Dedupe | None:
        """The policy from the words after its name; None if they mean nothing."""
        return None if words else cls()

    def __str__(self) -> str:
        return "dedupe"


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """What is kept of rows to recognise duplicates by.

    ``hashes`` [rows, 2] int64 are those of the input and of the target: of a text's normal form, of an array's exact
    numbers. Rounded ones would be the same for most rows of a table with a column or two, and under every label.
    ``sketches`` are [rows, 64] int32 of texts, [rows, 16] float32 of arrays.
    """

    hashes: np.ndarray
    sketches: np.ndarray

    def __len__(self) -> int:
        return len(self.hashes)


def join_prints(past: Prints | None, new: Prints, most: int | None = None) -> Prints:
    """Rows and then others, the last ones where there are too many."""
    both = new
    if past is not None and len(past):
        both = Prints(np.concatenate([past.hashes, new.hashes]), np.concatenate([past.sketches, new.sketches]))
    return both if most is None else Prints(both.hashes[-most:], both.sketches[-most:])


def no_prints(kind: str) -> Prints:
    """Prints of no rows; ``kind`` is that of the inputs, ``"text"`` or ``"array"``."""
    empty = np.empty((0, TEXT_NUMBERS), np.int32) if kind == "text" else np.empty((0, ARRAY_NUMBERS), np.float32)
    return Prints(np.empty((0, 2), np.int64), empty)


def prints_of(inputs: Sequence[Inputs], targets: Sequence[Target | None], schema: Schema) -> Prints:
    """The prints of rows of one kind; cost and size are linear in them."""
    if not inputs:
        return no_prints("array" if schema.low else "text")
    forms = [normal_form(row) if isinstance(row, str) else content_id(row + 0.0).encode() for row in inputs]  # no -0.0
    said = [repr(target).encode() for target in targets]
    # Two numbers of one input are two measurements and no conflict: an input is the same only with its number.
    whole = [f + s if isinstance(t, float) else f for f, s, t in zip(forms, said, targets, strict=True)]
    hashes = [(_hash(one), _hash(other)) for one, other in zip(whole, said, strict=True)]
    if isinstance(inputs[0], str):
        sketches = sketch_texts([_words(form) for form in forms])
    else:
        sketches = sketch_arrays(inputs, schema)  # type: ignore[arg-type]
    return Prints(np.array(hashes, dtype=np.int64), sketches)


def find_duplicates(new: Prints, past: Prints, apart: float) -> list[str | None]:
    """Why each new row is a duplicate; None for those that are not.

    Of duplicates the first one stays, and near is what is near to one that stays: where each row is like the one before
    it, the last may be far from the first. Where one input comes under two labels, nobody knows which is right: none of
    the new rows stays. A near duplicate under another label is no duplicate, nor is one input with another number.

    Parameters
    ----------
    new, past : Prints
        Rows in the order in which they came.
    apart : float
        The usual distance of an array to the nearest other one; not read for texts.

    Examples
    --------
    >>> schema = Schema(rows=4, longest=30)
    >>> texts = ["Where is my card?", "where is my card", "a new card please", "WHERE IS MY CARD"]
    >>> for why in find_duplicates(prints_of(texts, ["a", "a", "b", "a"], schema), no_prints("text"), 0.0):
    ...     print(why)
    None
    a duplicate: an earlier row has the same input and label
    None
    a duplicate: an earlier row has the same input and label
    """
    both = join_prints(past, new)
    conflicting, repeated = _same_inputs(both.hashes)
    close = _near_inputs(both, NEAR * apart, judged=~(conflicting | repeated), first=len(past))
    return [
        CONFLICT if conflicting[row] else EXACT if repeated[row] else CLOSE if close[row] else None
        for row in range(len(past), len(both))
    ]


def _same_inputs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the input of a row stands under another label as well, and whether an earlier row is the same."""
    _, group = np.unique(hashes[:, 0], return_inverse=True)
    lowest, highest = np.full(len(hashes), 2**63 - 1), np.full(len(hashes), -(2**63))
    np.minimum.at(lowest, group, hashes[:, 1])
    np.maximum.at(highest, group, hashes[:, 1])
    _, first = np.unique(hashes, axis=0, return_index=True)
    repeated = np.ones(len(hashes), dtype=bool)
    repeated[first] = False
    return (lowest != highest)[group], repeated


def _near_inputs(rows: Prints, near: float, *, judged: np.ndarray, first: int) -> np.ndarray:
    """Whether a row is near to one that stays; of the rows from ``first`` on that are ``judged``, the others stay out.

    Those before ``first`` stay in any case.
    """
    buckets, alike = _comparison(rows.sketches, near)
    numbers = np.arange(buckets.shape[1])
    keys = (buckets * len(numbers) + numbers) ^ rows.hashes[:, 1:]  # no two labels share a bucket
    _, group, count = np.unique(keys, return_inverse=True, return_counts=True)
    group = group.reshape(keys.shape)
    shared = count[group] > 1
    staying: defaultdict[int, list[int]] = defaultdict(list)
    close = np.zeros(len(rows), dtype=bool)
    for row in np.flatnonzero(judged | (np.arange(len(rows)) < first)).tolist():
        mine = [staying[one] for one in group[row][shared[row]].tolist()]
        if row >= first:
            others = sorted({other for bucket in mine for other in bucket[-COMPARED:]})
            close[row] = len(others) > 0 and alike(rows.sketches[others], rows.sketches[row]).any()
        if not close[row]:
            for bucket in mine:
                bucket.append(row)
    return close


def _comparison(sketches: np.ndarray, near: float) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    if sketches.dtype == np.int32:
        return text_buckets(sketches), lambda one, other: are_texts_alike(one, other, ALIKE)
    return array_buckets(sketches, near), lambda one, other: are_arrays_near(one, other, near)


def distance_apart(prints: Prints) -> float:
    """The usual distance of the first stage's rows to the nearest other one; 0 of texts, which need none."""
    return 0.0 if prints.sketches.dtype == np.int32 else usual_distance(prints.sketches)


def _words(form: bytes) -> str:
    """A text's normal form without what says that it is one, which all have in common."""
    return form.removeprefix(b"text\0").decode("utf-8", "surrogatepass")


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True)
