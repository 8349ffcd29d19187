"""Prompts and their replies to tokens, side by side: what an encoder reads, and what a decoder writes.

Several pairs share a window, so that little is spent on padding, and do not see each other: they are segments. A window
has its places for prompts first and behind them those for replies, as many as the pairs have use for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Content, Exchange
from dripstone.core.losses import IGNORED
from dripstone.models.packing import PADDING, Windows
from dripstone.models.tokens import Tokens, texts_of

OPEN = 64
"""Windows that are looked through for room; of more, the oldest is closed."""


class Pairs(Tokens):
    """Prompts with their replies as token numbers.

    A prompt ends with the mark ``end``, and is cut before that where it has more than ``context`` tokens with it. What
    a decoder reads begins with the same mark, and the reply ends with it.

    Parameters
    ----------
    vocabulary, context, tokenizer
        As in `dripstone.models.tokens.Tokens`; ``context`` counts the tokens of prompts.
    longest : int
        Tokens of a reply at most, at least 1.

    Raises
    ------
    ModelError
        If the sizes do not fit one another.

    Examples
    --------
    >>> pairs = Pairs(258, context=5, tokenizer="bytes", longest=3)
    >>> windows = pairs.pack([Exchange("hello you", "a"), Exchange("", "b")])
    >>> windows.tokens.tolist()
    [[104, 101, 108, 108, 256, 256, 97, 256, 256], [256, 256, 256, 256, 256, 256, 98, 256, 256]]
    >>> windows.targets.tolist()
    [[97, 256, -100, -100], [98, 256, -100, -100]]
    """

    documents = False

    def __init__(self, vocabulary: int, context: int, tokenizer: Literal["bpe", "bytes"], longest: int) -> None:
        super().__init__(vocabulary, context, tokenizer)
        if longest < 1:
            raise ModelError(f"a reply of {longest} tokens says nothing", remedy="set reply to at least 1")
        self.longest, self.usual = longest, longest + 1

    def prompt(self, text: str, *, reply: bool) -> list[int]:
        """A prompt as the encoder reads it; a reply is all that can follow it, whether it is asked for or not."""
        return self._sources([text])[0]

    def fitting(self, tokens: list[int], max_tokens: int) -> list[int]:
        """The same: a prompt takes no room from its reply."""
        return tokens

    def refusals(self, contents: Sequence[Content]) -> list[str | None]:
        """Why a row can be neither learned nor measured: its reply is longer than the model writes."""
        replies = [content.reply if isinstance(content, Exchange) else "" for content in contents]
        reason = f"the reply is longer than the {self.longest} tokens that the model writes"
        return [reason if len(tokens) > self.longest else None for tokens in self.encode(replies)]

    def pack(self, contents: Sequence[Content]) -> Windows:
        """Prompts with their replies, of which the reply is asked for token by token, and its end.

        Returns
        -------
        Windows
            ``context`` places for prompts, then those for replies, which alone have ``targets``.

        Raises
        ------
        DataError
            If there is no row, one has no reply, or too long a one.
        """
        if not len(contents):
            raise DataError("there are no rows", remedy="send at least one", kind="data.empty")
        prompts, replies = zip(*(_pair(content, row) for row, content in enumerate(contents)), strict=True)
        sources, targets = self._sources(prompts), self._targets(replies)
        sizes = [(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
        places = places_for(sizes, self.context)
        groups = first_fit(sizes, (self.context, places))
        tokens = np.full((len(groups), self.context + places), self.end, dtype=np.int64)
        segments = np.full_like(tokens, PADDING)
        asked = np.full((len(groups), places), IGNORED, dtype=np.int64)
        for window, group in enumerate(groups):
            left, right = 0, 0
            for row in group:
                source, target = sources[row], targets[row]
                read, written = slice(left, left + len(source)), slice(right, right + len(target))
                behind = slice(self.context + written.start, self.context + written.stop)
                tokens[window, read], tokens[window, behind] = source, [self.end, *target[:-1]]
                segments[window, read] = segments[window, behind] = row
                asked[window, written] = target
                left, right = read.stop, written.stop
        return Windows(*map(torch.from_numpy, (tokens, segments, asked)))

    def _sources(self, prompts: Sequence[str]) -> list[list[int]]:
        return [[*tokens[: self.context - 1], self.end] for tokens in self.encode(prompts)]

    def _targets(self, replies: Sequence[str]) -> list[list[int]]:
        found = self.encode(replies)
        for row, tokens in enumerate(found):
            if len(tokens) > self.longest:
                raise DataError(
                    f"the reply of row {row} has {len(tokens)} tokens, where the model writes {self.longest}",
                    remedy="shorten it, or make the model with a larger reply=",
                    kind="data.too_large",
                )
        return [[*tokens, self.end] for tokens in found]


def _pair(content: Content, row: int) -> tuple[str, str]:
    prompt, *rest = texts_of(content, row)
    if not rest:
        raise DataError(f"row {row} has no reply", remedy="send prompts with their replies", kind="data.kind")
    return prompt, rest[0]


def places_for(sizes: Sequence[tuple[int, int]], context: int) -> int:
    """How many places for replies stand beside ``context`` for prompts: about as many as fill up together.

    Examples
    --------
    >>> places_for([(4, 2)] * 100, context=16), places_for([(4, 2)], context=16), places_for([(4, 9)], context=4)
    (8, 2, 9)
    """
    read, written = (sum(part) for part in zip(*sizes, strict=True))
    longest = max(size for _, size in sizes)
    return max(longest, min(written, -(-context * written // read)))


def first_fit(sizes: Sequence[tuple[int, int]], room: tuple[int, int]) -> list[list[int]]:
    """Places of pairs by window: the largest first, each in the oldest of the open windows that has room for both.

    Examples
    --------
    >>> first_fit([(3, 1), (2, 2), (1, 1)], room=(4, 3))
    [[0, 2], [1]]
    """
    windows: list[list[int]] = []
    spaces: dict[int, tuple[int, int]] = {}
    shares = [max(read / room[0], written / room[1]) for read, written in sizes]
    for place in sorted(range(len(sizes)), key=lambda place: -shares[place]):
        read, written = sizes[place]
        found = next((window for window, (a, b) in spaces.items() if a >= read and b >= written), None)
        if found is None:
            found = len(windows)
            windows.append([])
            spaces[found] = room
            if len(spaces) > OPEN:
                del spaces[next(iter(spaces))]
        windows[found].append(place)
        spaces[found] = (spaces[found][0] - read, spaces[found][1] - written)
        if min(spaces[found]) < 1:
            del spaces[found]
    return windows
