"""What is read from disk is checked by these before anyone uses it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec
import zstandard

from dripstone.core.errors import DripstoneError, StoreError, UsageError

P = ParamSpec("P")
T = TypeVar("T")

RESTORE = (
    "restore that file from a copy of the store, or revert to a version that verifies ('dripstone verify' lists all)"
)

_HASH = re.compile(r"[0-9a-f]{64}")


def is_hash(text: str) -> bool:
    """Whether this is a SHA-256 in lower-case hexadecimal, and therefore safe as a file name.

    Examples
    --------
    >>> is_hash("ab" * 32), is_hash("../" + "a" * 61)
    (True, False)
    """
    return _HASH.fullmatch(text) is not None


def sha256(*parts: bytes | memoryview) -> str:
    """SHA-256 in hexadecimal, of the parts one after another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def corrupt(message: str, remedy: str = RESTORE) -> StoreError:
    """The error for bytes that are not what was once written."""
    return StoreError(message, remedy=remedy, kind="store.corrupt")


def parse(decode: Callable[[bytes], T], data: bytes, what: str) -> T:
    """Decode JSON or msgpack that may be hostile.

    Parameters
    ----------
    decode : callable
        ``decode`` of a typed msgspec decoder.
    data : bytes
        What was read.
    what : str
        Name of the thing for the message.

    Raises
    ------
    StoreError
        ``store.corrupt`` for whatever does not decode: wrong types, bad UTF-8, nesting without end, endless numbers.

    Examples
    --------
    >>> parse(msgspec.json.Decoder(int).decode, b"3", "the number")
    3
    """
    try:
        return decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise corrupt(f"{what} cannot be read ({error})") from error


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T | None, list[str]]:
    """What was read, or what is wrong with it: for whoever goes on after a problem.

    Examples
    --------
    >>> attempt(parse, msgspec.json.Decoder(int).decode, b"x", "the number")[0] is None
    True
    """
    try:
        return read(*args, **kwargs), []
    except DripstoneError as error:
        return None, [str(error)]


def to_json(value: T, decode: Callable[[bytes], T], what: str, limit: int) -> bytes:
    """Encode a record that a reader will accept.

    Raises
    ------
    UsageError
        If it holds what JSON cannot (NaN, infinity, lone surrogates), or is larger than ``limit`` bytes.
    """
    try:
        data = msgspec.json.encode(value)
        decode(data)  # never commit what no reader would accept
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError) as error:
        raise UsageError(f"{what} cannot be stored ({error})", remedy="use valid Unicode and finite numbers") from error
    if len(data) > limit:
        raise UsageError(f"{what} takes {len(data):,} bytes, more than {limit:,}", remedy="use shorter texts")
    return data


def inflate(data: bytes | memoryview, what: str, *, size: int | None = None, limit: int) -> bytes:
    """Decompress one zstd frame that says its size beforehand.

    Parameters
    ----------
    data : bytes
        The frame. zstandard allocates what the frame's header asks for, so the header is looked at first.
    what : str
        Name of the thing for the message.
    size : int, optional
        Decompressed bytes that there have to be.
    limit : int
        Decompressed bytes that there may be.

    Raises
    ------
    StoreError
        ``store.corrupt`` if the frame is damaged or has another size.

    Examples
    --------
    >>> inflate(zstandard.compress(b"aaaa"), "the sample", size=4, limit=100)
    b'aaaa'
    """
    try:
        promised = zstandard.frame_content_size(data)
        if not 0 <= promised <= limit or (size is not None and promised != size):
            expected = f"{size:,}" if size is not None else f"at most {limit:,}"
            raise corrupt(f"{what} would inflate to {promised:,} bytes where {expected} belong")
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(promised, 1), allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise corrupt(f"{what} cannot be decompressed ({error})") from error
    if len(plain) != promised:
        raise corrupt(f"{what} inflates to {len(plain):,} bytes where {promised:,} belong")
    return plain
