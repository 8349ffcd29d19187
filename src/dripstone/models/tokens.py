"""Texts to tokens: bytes, or byte pairs that are learned from the first stage's texts."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Content, Exchange
from dripstone.core.spacing import spaced
from dripstone.models.packing import Piece, Windows, cut, pack
from dripstone.models.tokenizer_json import parse_tokenizer, tokenizers_library

BYTES = 256
MARKS = 2
"""Tokens that no text holds: where a text ends or begins, and where a prompt ends and its reply begins."""

LEARNED_CHARACTERS = 20_000_000
"""Characters from which byte pairs are learned at most; texts are taken evenly spaced."""

_LARGEST = 2**20


class TextWindows(nn.Module, ABC):
    """Texts packed into windows of tokens; what is made of it says which tokens a text has.

    Attributes
    ----------
    vocabulary : int
        How many tokens there are.
    context : int
        Tokens of a window at most.
    begin, end : int
        The marks at a text's beginning and at its end.
    between : list of int
        What stands between a prompt and its reply.
    documents : bool
        Whether texts can be learned that are no replies.
    usual : int
        Tokens that are written at most where nobody says how many.
    """

    default_column = "text"
    kind = "text"
    accepted: Sequence[tuple[int, ...]] = ()
    picture = None
    mask_token = None
    documents = True
    usual = 64
    vocabulary: int
    context: int
    begin: int
    end: int
    between: list[int]

    def fit(self, inputs: Sequence[Content]) -> None:
        """Learn what is to be learned from the first stage's texts; later calls do nothing."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without marks."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; marks are left out."""

    def prompt(self, text: str, *, reply: bool) -> list[int]:
        """A text as it stands before what is to be generated: a reply to it, or what goes on from it."""
        return [self.begin, *self.encode([text])[0], *(self.between if reply else [])]

    def fitting(self, tokens: list[int], max_tokens: int) -> list[int]:
        """The mark at the beginning, and the last tokens that leave room for an answer: a quarter of the context."""
        room = max(2, self.context - min(max_tokens, max(1, self.context // 4)))
        return tokens if len(tokens) <= room else [tokens[0], *tokens[len(tokens) - room + 1 :]]

    def refusals(self, contents: Sequence[Content]) -> list[str | None]:
        """Why each row can be neither learned nor measured, whose texts are as they should be; None if it can."""
        return [None] * len(contents)

    def pack(self, contents: Sequence[Content]) -> Windows:
        """Texts, and prompts with their replies, in windows of ``context`` tokens at most.

        Each text is asked for token by token, and for its end; of an exchange only the reply is.

        Raises
        ------
        DataError
            If there is no row, or one is no text.
        """
        if not len(contents):
            raise DataError("there are no rows", remedy="send at least one", kind="data.empty")
        parts = [texts_of(content, row) for row, content in enumerate(contents)]
        encoded = iter(self.encode([text for part in parts for text in part]))
        pieces: list[Piece] = []
        for row, part in enumerate(parts):
            prompt, *rest = [next(encoded) for _ in part]
            before = [self.begin, *prompt, *self.between] if rest else [self.begin]
            tokens = [*before, *(rest[0] if rest else prompt), self.end]
            pieces += cut(tokens, len(before), self.context, row)
        return pack(pieces, self.context, self.end)


class Tokens(TextWindows):
    """Texts as token numbers, packed into windows.

    Every text has tokens, since all 256 bytes are among them, and no text has a mark in it, whatever it says.

    Parameters
    ----------
    vocabulary : int
        How many tokens there are, the two marks included; with ``"bytes"`` 258.
    context : int
        Tokens of a window, at least 2.
    tokenizer : str
        ``"bpe"`` learns byte pairs from the first stage's texts; ``"bytes"`` has nothing to learn.

    Attributes
    ----------
    learned : torch.Tensor
        [bytes] uint8 buffer: the ``tokenizer.json`` of the byte pairs; empty before the first ``fit``, and with
        ``"bytes"``. A version carries it like a weight, so that training and serving cannot differ.
    end, reply : int
        The two marks.

    Raises
    ------
    ModelError
        If the sizes do not fit one another, or what was learned is no tokenizer, or one of more tokens.

    References
    ----------
    Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", arXiv 1508.07909, on bytes.

    Examples
    --------
    >>> tokens = Tokens(258, context=8, tokenizer="bytes")
    >>> tokens.encode(["hi"]), tokens.decode([104, 105])
    ([[104, 105]], 'hi')
    >>> windows = tokens.pack(["hi", Exchange("a", "b")])
    >>> windows.tokens.tolist(), windows.targets.tolist()
    ([[256, 97, 257, 98, 256, 104, 105]], [[-100, -100, 98, 256, 104, 105, 256]])
    """

    learned: torch.Tensor

    def __init__(self, vocabulary: int, context: int, tokenizer: Literal["bpe", "bytes"]) -> None:
        super().__init__()
        if tokenizer not in ("bpe", "bytes"):
            raise ModelError(f"there is no tokenizer {tokenizer!r}", remedy="use 'bpe' or 'bytes'")
        least = BYTES + MARKS
        if not least <= vocabulary <= _LARGEST or (tokenizer == "bytes" and vocabulary != least):
            raise ModelError(
                f"{vocabulary} tokens are no vocabulary of {tokenizer!r}",
                remedy=f"set vocabulary to {least}" + ("" if tokenizer == "bytes" else f" to {_LARGEST}"),
            )
        if context < 2:
            raise ModelError(f"a window of {context} tokens holds no text", remedy="set context to at least 2")
        self.tokenizer, self.vocabulary, self.context = tokenizer, vocabulary, context
        self.end, self.reply = vocabulary - 2, vocabulary - 1
        self.begin, self.between = self.end, [self.reply]
        self.register_buffer("learned", torch.empty(0, dtype=torch.uint8))

    def fit(self, inputs: Sequence[Content]) -> None:
        """Learn byte pairs from the first stage's texts; later calls do nothing."""
        if self.tokenizer == "bytes" or len(self.learned) or not inputs:
            return
        data = _learn_pairs(_some([part for row in inputs for part in texts_of(row)]), self.vocabulary - MARKS)
        self.learned = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy()).to(self.learned.device)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without marks. Half a character, which is no text, becomes a question mark."""
        plain = [text.encode("utf-8", "replace") for text in texts]
        if self.tokenizer == "bytes":
            return [list(text) for text in plain]
        encodings = self._pairs().encode_batch_fast([text.decode() for text in plain], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; marks are left out, and bytes that are no text become the character for that."""
        kept = [token for token in tokens if token < self.end]
        if self.tokenizer == "bytes":
            return bytes(kept).decode("utf-8", "replace")
        return str(self._pairs().decode(kept, skip_special_tokens=False))

    def _pairs(self) -> Any:
        if not len(self.learned):
            raise ModelError(
                "the model has learned no tokens yet", remedy="update it with texts first", kind="model.tokens"
            )
        return _parse(self.learned.cpu().numpy().tobytes(), self.vocabulary - MARKS)


def texts_of(content: Content, row: int = 0) -> list[str]:
    """A text alone, or a prompt and its reply.

    Raises
    ------
    DataError
        If it is neither; the row is named.

    Examples
    --------
    >>> texts_of("a"), texts_of(Exchange("1 + 1", "2"))
    (['a'], ['1 + 1', '2'])
    """
    parts = list(content) if isinstance(content, Exchange) else [content]
    for part in parts:
        if not isinstance(part, str):
            raise DataError(
                f"row {row} is of type {type(part).__name__}, the model takes text",
                remedy="send a string",
                kind="data.kind",
            )
    return parts  # type: ignore[return-value]


def _some(texts: Sequence[str]) -> list[str]:
    """As many texts, evenly spaced, as byte pairs are learned from."""
    total = sum(map(len, texts))
    wanted = max(1, len(texts) * LEARNED_CHARACTERS // max(total, 1))
    return [texts[place][:LEARNED_CHARACTERS] for place in spaced(len(texts), min(len(texts), wanted)).tolist()]


def _learn_pairs(texts: Sequence[str], size: int) -> bytes:
    library = tokenizers_library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((text.encode("utf-8", "replace").decode() for text in texts), trainer)
    return str(tokenizer.to_str()).encode()


@lru_cache(maxsize=8)
def _parse(data: bytes, size: int) -> Any:
    """The tokenizer that was learned, without what could add marks to a text, or cut it."""
    try:
        tree = json.loads(data)
        plain = {key: tree[key] for key in ("version", "pre_tokenizer", "decoder", "model")}
    except (ValueError, KeyError, TypeError) as error:  # not JSON, or not what the library writes
        raise ModelError(
            f"the version's tokenizer cannot be read: {error}",
            remedy="run 'dripstone verify'; revert to a version that is whole",
            kind="model.tokens",
        ) from error
    tokenizer = parse_tokenizer(json.dumps(plain | {"added_tokens": []}).encode())
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= size:
        raise ModelError(
            f"the version's tokenizer has a token {largest}, the model has room for {size}",
            remedy="run 'dripstone verify'; revert to a version that is whole",
            kind="model.tokens",
        )
    return tokenizer
