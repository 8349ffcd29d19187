"""``tokenizer.json``, as the library ``tokenizers`` writes it: bounded, and read without trust."""

from __future__ import annotations

from typing import Any

from dripstone.core.errors import ModelError, UsageError

LARGEST = 64 * 2**20
"""Bytes of such a file at most."""


def tokenizers_library() -> Any:
    """The library.

    Raises
    ------
    UsageError
        If the extra ``text`` is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError("texts need the package 'tokenizers'", remedy="pip install 'dripstone[text]'") from error
    return tokenizers


def parse_tokenizer(data: bytes) -> Any:
    """The tokenizer that the file describes.

    Raises
    ------
    ModelError
        If it is too large, or describes none.
    UsageError
        If the extra ``text`` is not installed.

    Examples
    --------
    >>> library = tokenizers_library()
    >>> words = library.Tokenizer(library.models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
    >>> parse_tokenizer(words.to_str().encode()).token_to_id("hello")
    1
    """
    library = tokenizers_library()
    if len(data) > LARGEST:
        raise ModelError(
            f"tokenizer.json has {len(data)} bytes, more than {LARGEST}",
            remedy="use a smaller vocabulary",
            kind="model.tokens",
        )
    try:
        return library.Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # not UTF-8, or the library's bare Exception
        raise ModelError(
            f"tokenizer.json cannot be read: {error}",
            remedy="write it with tokenizers' Tokenizer.save; of a stored version, run 'dripstone verify'",
            kind="model.tokens",
        ) from error
