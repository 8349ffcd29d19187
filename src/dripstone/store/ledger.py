"""The rows of every update, and the book of those that are still waiting or were put aside.

A page is written once an update and never changes. The book is what a page cannot know: which rows of which pages are
pending or quarantined now; each update writes a new one, and the log names the one that counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Set
from typing import Any

import msgspec
import numpy as np
import zstandard

from dripstone.core.errors import DataError
from dripstone.core.examples import Example, Target
from dripstone.core.records import Role
from dripstone.store.checks import inflate, parse

MAX_PLAIN_BYTES = 2**28

_MAX_ELEMENTS = 2**40
_LEVEL = 3
_MARK_BYTES = 8


class Array(msgspec.Struct, frozen=True):
    """A float32 array: its shape and its little-endian bytes in row-major order.

    Examples
    --------
    >>> Array.of(np.ones((2, 1))).numpy().tolist()
    [[1.0], [1.0]]
    """

    shape: list[int]
    data: bytes

    def __post_init__(self) -> None:
        if len(self.shape) > 32 or any(size < 0 for size in self.shape):
            raise ValueError(f"no array has the shape {self.shape}")
        # Dimensions of 0 must not hide gigantic ones, which numpy refuses in ways of its own.
        if math.prod(max(size, 1) for size in self.shape) > _MAX_ELEMENTS:
            raise ValueError(f"the shape {self.shape} is too large")
        if 4 * math.prod(self.shape) != len(self.data):
            raise ValueError(f"{len(self.data)} bytes are not {self.shape} float32 numbers")

    @classmethod
    def of(cls, array: np.ndarray) -> Array:
        """The float32 bytes of an array."""
        plain = np.ascontiguousarray(array, dtype="<f4")
        return cls(list(np.shape(array)), plain.tobytes())

    def numpy(self) -> np.ndarray:
        """A float32 array in memory of its own."""
        return np.frombuffer(self.data, "<f4").astype(np.float32).reshape(self.shape)


class PageRow(msgspec.Struct, frozen=True):
    """An example as a page keeps it, with its role in the update and, if it was rejected, why.

    ``factor`` is what curation multiplied its weight by in training.

    Examples
    --------
    >>> row = PageRow.of(Example("7", "hello", "greet"), "train")
    >>> row.role, row.example().target
    ('train', 'greet')
    """

    id: str
    inputs: str | Array
    target: Target | None
    weight: float
    time: str | None
    slice: str | None
    origin: str
    role: Role
    reason: str = ""
    factor: float = 1.0

    @classmethod
    def of(cls, example: Example, role: Role, reason: str = "") -> PageRow:
        """Keep an example."""
        inputs = example.inputs if isinstance(example.inputs, str) else Array.of(example.inputs)
        return cls(
            id=example.id,
            inputs=inputs,
            target=example.target,
            weight=example.weight,
            time=example.time,
            slice=example.slice,
            origin=example.origin,
            role=role,
            reason=reason,
            factor=example.factor,
        )

    def example(self) -> Example:
        """The example that was kept."""
        return Example(
            id=self.id,
            inputs=self.inputs if isinstance(self.inputs, str) else self.inputs.numpy(),
            target=self.target,
            weight=self.weight,
            time=self.time,
            slice=self.slice,
            origin=self.origin,
            factor=self.factor,
        )


class Carried(msgspec.Struct, frozen=True):
    """A pending row of an earlier page that took part in a later update: its page, its place there, its role now.

    ``reason`` and ``factor`` are those of a `PageRow`, in that update.
    """

    page: str
    index: int
    role: Role
    reason: str = ""
    factor: float = 1.0


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one update received, and what it carried over.

    ``parent`` is the champion it started from, ``candidate`` the version it trained (None where it trained none). The
    number of the log entry is no part of it, so that an update that was killed before its commit and runs again writes
    the same page, under the same name. ``again`` counts how often the very same rows had been unlearned before.
    """

    parent: str | None
    candidate: str | None
    rows: list[PageRow]
    carried: list[Carried] = []
    again: int | msgspec.UnsetType = msgspec.UNSET


class PendingRow(msgspec.Struct, frozen=True):
    """A row that waits since log entry ``number``.

    ``admitted``: a person has said that it makes sense. ``heard``: an update has taken it in already.
    """

    page: str
    index: int
    number: int
    row: PageRow
    admitted: bool = False
    heard: bool = False


class QuarantineGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows of a page that were put aside together by log entry ``number``, and why.

    ``marks`` are 8 bytes a row, in their order, of the hash of its id, so that a row that comes again is noticed
    without reading the page; empty in what an older dripstone wrote.

    Examples
    --------
    >>> group = QuarantineGroup.of("ab" * 32, 4, "no sense", {1: "x", 5: "y"})
    >>> group.indices, group.may_hold({short_hash("y")}), group.may_hold({short_hash("z")})
    ([1, 5], True, False)
    """

    page: str
    number: int
    reason: str
    indices: list[int]
    marks: bytes = b""

    @classmethod
    def of(cls, page: str, number: int, reason: str, ids: Mapping[int, str]) -> QuarantineGroup:
        """The group of some rows, given by index with their ids."""
        return cls(page, number, reason, list(ids), b"".join(map(short_hash, ids.values())))

    def may_hold(self, marks: Set[bytes]) -> bool:
        """Whether a row of one of these ids, given by their hashes, may be in it; only its page says for sure."""
        if len(self.marks) != _MARK_BYTES * len(self.indices):
            return True
        known = {self.marks[at : at + _MARK_BYTES] for at in range(0, len(self.marks), _MARK_BYTES)}
        return not known.isdisjoint(marks)

    def without(self, places: Container[tuple[str, int]]) -> QuarantineGroup:
        """The group less the rows at some places, which are pages with indices."""
        stay = [at for at, index in enumerate(self.indices) if (self.page, index) not in places]
        marks = b"".join(self.marks[_MARK_BYTES * at : _MARK_BYTES * (at + 1)] for at in stay)
        return QuarantineGroup(self.page, self.number, self.reason, [self.indices[at] for at in stay], marks)


def short_hash(text: str) -> bytes:
    """8 bytes by which an id is known again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_MARK_BYTES]


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state of the data after a log entry.

    ``tested`` counts the candidates that were put to the test for gain. ``held_out`` are keyed hashes of rows that are
    held out whatever their hash says (``init --holdout``). ``share`` is the share of rows that their hash holds out; it
    stays what it was for the first row. ``doubt`` is the log wealth of the bet that rows of late contradict the live
    version too often.
    """

    pending: list[PendingRow] = []
    quarantined: list[QuarantineGroup] = []
    tested: int = 0
    held_out: list[bytes] = []
    share: float | None = None
    doubt: float = 0.0


_PAGE = msgspec.msgpack.Decoder(Page)
_BOOK = msgspec.msgpack.Decoder(Book)


def encode_page(page: Page) -> bytes:
    """A page as msgpack in one zstd frame.

    Raises
    ------
    DataError
        If a row cannot be written (text with lone surrogates, a number beyond 64 bits, a target that is no label), or
        all rows together are larger than what a reader accepts.

    Examples
    --------
    >>> page = Page(None, None, [PageRow.of(Example("7", "hello", "greet"), "train")])
    >>> decode_page(encode_page(page)) == page
    True
    """
    return _compress(page, _PAGE, "the update's rows")


def decode_page(data: bytes) -> Page:
    """Read a page; ``store.corrupt`` if it is none."""
    return parse(_PAGE.decode, inflate(data, "a ledger page", limit=MAX_PLAIN_BYTES), "a ledger page")


def encode_book(book: Book) -> bytes:
    """A book as msgpack in one zstd frame; raises as `encode_page` does."""
    return _compress(book, _BOOK, "the pending and quarantined rows")


def decode_book(data: bytes) -> Book:
    """Read a book; ``store.corrupt`` if it is none."""
    return parse(_BOOK.decode, inflate(data, "a ledger book", limit=MAX_PLAIN_BYTES), "a ledger book")


def _compress(value: Page | Book, decoder: msgspec.msgpack.Decoder[Any], what: str) -> bytes:
    try:
        plain = msgspec.msgpack.encode(value)
        decoder.decode(plain)  # never commit what no reader would accept
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError) as error:
        raise DataError(
            f"{what} cannot be stored ({error})",
            remedy="send valid Unicode text, 64-bit numbers, and labels that are text or whole numbers",
            kind="data.unstorable",
        ) from error
    if len(plain) > MAX_PLAIN_BYTES:
        raise DataError(
            f"{what} take {len(plain):,} bytes, more than the {MAX_PLAIN_BYTES:,} of a ledger page",
            remedy="send fewer or smaller rows in one update",
            kind="data.too_large",
        )
    return zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
