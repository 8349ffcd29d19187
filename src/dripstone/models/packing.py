"""Packing: texts of any length in windows of one length, so that next to nothing is spent on padding.

A text that fits in a window is never cut. Each goes where the least room is left that it fits in, the longest first
(best fit, as in "Fewer Truncations Improve Language Modeling", arXiv 2404.10830, section 3). Texts of one window do not
see each other: they are segments.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dripstone.core.losses import IGNORED

PADDING = -1
"""The segment of places that no text fills."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What is read of a text at once.

    ``tokens`` [n] int64; ``targets`` [n] int64 is the token that follows each, `IGNORED` where nothing is asked;
    ``row`` is the number of the text.
    """

    tokens: np.ndarray
    targets: np.ndarray
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Texts side by side; all [windows, tokens] int64.

    ``segments`` is the number of the text that a token is of, `PADDING` where there is none. ``targets`` may be of the
    last tokens alone, where nothing is asked of the others.
    """

    tokens: torch.Tensor
    segments: torch.Tensor
    targets: torch.Tensor

    def widened(self, width: int, padding: int) -> Windows:
        """The same in windows of so many tokens; ``padding`` is the token that stands where nothing is."""
        more = (0, width - self.tokens.shape[1])
        parts = ((self.tokens, padding), (self.segments, PADDING), (self.targets, IGNORED))
        return Windows(*(nn.functional.pad(tensor, more, value=value) for tensor, value in parts))


def cut(tokens: Sequence[int], first_target: int, context: int, row: int) -> list[Piece]:
    """A text in pieces that fit into a window, each token of it asked for once.

    What stands before the first target, a prompt, is cut from its beginning where the whole does not fit. A text that
    is itself longer than a window becomes several pieces, each of which begins without what came before it.

    Parameters
    ----------
    tokens : sequence of int
        The whole text, the marks at its beginning and end included.
    first_target : int
        Place of the first token that is asked for, at least 1.
    context : int
        Tokens of a window.
    row : int
        The number of the text.

    Examples
    --------
    >>> [(piece.tokens.tolist(), piece.targets.tolist()) for piece in cut([9, 1, 2, 3, 9], 1, 3, 0)]
    [([9, 1, 2], [1, 2, 3]), ([3], [9])]
    >>> [(piece.tokens.tolist(), piece.targets.tolist()) for piece in cut([9, 1, 2, 3, 9], 3, 3, 0)]
    [([1, 2, 3], [-100, 3, 9])]
    """
    whole = np.asarray(tokens, dtype=np.int64)
    spare = min(max(len(whole) - 1 - context, 0), first_target - 1)
    whole, first_target = whole[spare:], first_target - spare
    inputs, targets = whole[:-1], whole[1:].copy()
    targets[: first_target - 1] = IGNORED
    starts = range(0, len(inputs), context)
    pieces = [Piece(inputs[start : start + context], targets[start : start + context], row) for start in starts]
    return [piece for piece in pieces if (piece.targets != IGNORED).any()]


def pack(pieces: Sequence[Piece], context: int, padding: int) -> Windows:
    """Pieces in as few windows as best fit finds; those are as long as the fullest of them.

    Parameters
    ----------
    pieces : sequence of Piece
        At most ``context`` tokens each.
    context : int
        Tokens of a window at most.
    padding : int
        The token that stands where nothing is.

    Examples
    --------
    >>> pieces = [Piece(np.arange(size), np.arange(size) + 1, row) for row, size in enumerate([3, 2, 1])]
    >>> pack(pieces, context=4, padding=0).segments.tolist()
    [[0, 0, 0, 2], [1, 1, -1, -1]]
    """
    groups = _best_fit([len(piece.tokens) for piece in pieces], context)
    width = max((sum(len(pieces[place].tokens) for place in group) for group in groups), default=0)
    shape = (len(groups), width)
    tokens, segments, targets = (np.full(shape, value, dtype=np.int64) for value in (padding, PADDING, IGNORED))
    for window, group in enumerate(groups):
        start = 0
        for place in group:
            piece = pieces[place]
            there = slice(start, start + len(piece.tokens))
            tokens[window, there], segments[window, there], targets[window, there] = (
                piece.tokens,
                piece.row,
                piece.targets,
            )
            start = there.stop
    return Windows(*map(torch.from_numpy, (tokens, segments, targets)))


def _best_fit(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Places by window. Windows with room are kept in order of it; of two with as much, the older one is filled."""
    windows: list[list[int]] = []
    left: list[tuple[int, int]] = []
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        size = sizes[place]
        found = bisect_left(left, (size, 0))
        if found < len(left):
            space, window = left.pop(found)
        else:
            space, window = room, len(windows)
            windows.append([])
        windows[window].append(place)
        if space > size:
            insort(left, (space - size, window))
    return windows


def seen_by(known: torch.Tensor, tokens: int) -> torch.Tensor:
    """Which ``known`` places of a row the last ``tokens`` of them see: those of their own text, up to themselves.

    Padding sees itself and earlier padding: without anything to look at, attention would be 0/0.

    Parameters
    ----------
    known : torch.Tensor
        [rows, known] int64 segments.
    tokens : int
        How many places look.

    Returns
    -------
    torch.Tensor
        [rows, tokens, known] bool. The sum over the last dimension less 1 is where in its text a token stands.

    Examples
    --------
    >>> seen_by(torch.tensor([[0, 0, 1]]), 2).int().tolist()
    [[[1, 1, 0], [0, 0, 1]]]
    """
    past = known.shape[1] - tokens
    places = torch.arange(known.shape[1], device=known.device)
    return (known[:, past:, None] == known[:, None, :]) & (places <= places[past:, None])
