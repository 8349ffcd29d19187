"""Packing loses no token, cuts only what does not fit, and leaves next to no room empty."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.losses import IGNORED
from dripstone.models.packing import PADDING, Piece, cut, pack


@given(st.integers(1, 60), st.integers(1, 59), st.integers(2, 20))
def test_every_token_from_the_first_target_on_is_asked_for_once(length, first, context):
    tokens = list(range(100, 101 + length))
    first = min(first, length)
    pieces = cut(tokens, first, context, row=3)
    asked = [target for piece in pieces for target in piece.targets.tolist() if target != IGNORED]
    assert asked == tokens[first:]
    assert all(0 < len(piece.tokens) <= context and piece.row == 3 for piece in pieces)


@given(st.integers(2, 40), st.integers(1, 12), st.integers(3, 20))
def test_what_comes_before_a_target_is_the_text_itself(prompt, reply, context):
    tokens = list(range(prompt + reply + 1))
    for piece in cut(tokens, prompt, context, row=0):
        for token, target in zip(piece.tokens.tolist(), piece.targets.tolist(), strict=True):
            assert target in (token + 1, IGNORED)


def test_a_long_prompt_loses_its_beginning_and_keeps_what_stands_before_the_reply():
    piece = cut([9, *range(20), 8, 100, 101, 9], first_target=22, context=6, row=0)
    assert [part.tokens.tolist() for part in piece] == [[17, 18, 19, 8, 100, 101]]
    assert piece[0].targets.tolist() == [IGNORED] * 3 + [100, 101, 9]


def test_a_reply_longer_than_a_window_goes_on_in_the_next():
    pieces = cut([9, 1, 8, *range(100, 110), 9], first_target=3, context=4, row=0)
    assert sum((piece.targets != IGNORED).sum() for piece in pieces) == 11


@given(st.lists(st.integers(1, 16), min_size=1, max_size=60))
def test_windows_hold_every_piece_once_and_apart(sizes):
    pieces = [Piece(np.arange(size) + 100 * row, np.arange(size) + 1, row) for row, size in enumerate(sizes)]
    windows = pack(pieces, context=16, padding=7)
    for row, piece in enumerate(pieces):
        inside = windows.segments == row
        assert windows.tokens[inside].tolist() == piece.tokens.tolist()
        assert len(torch.nonzero(inside.any(dim=1))) == 1
    empty = windows.segments == PADDING
    assert bool((windows.tokens[empty] == 7).all())
    assert bool((windows.targets[empty] == IGNORED).all())
    used = (~empty).sum(dim=1)
    assert len(used) < 2 or used.sort().values[:2].sum() > 16  # no two windows would fit into one


def test_texts_of_many_lengths_take_as_few_windows_as_can_be():
    sizes = np.random.default_rng(0).integers(1, 128, 500)
    windows = pack([Piece(np.arange(size), np.arange(size), row) for row, size in enumerate(sizes)], 128, 0)
    # Two pieces of more than half a window never share one.
    least = max(-(-sizes.sum() // 128), (sizes > 64).sum())
    assert len(windows.tokens) <= 1.02 * least


def test_documents_leave_next_to_no_room_empty():
    lengths = np.random.default_rng(0).integers(20, 1000, 200)
    pieces = [piece for row, length in enumerate(lengths) for piece in cut(range(length), 1, 128, row)]
    assert float((pack(pieces, 128, 0).segments == PADDING).double().mean()) < 0.02


def test_wider_windows_say_the_same():
    windows = pack([Piece(np.arange(3), np.arange(3), 0)], context=8, padding=5)
    wide = windows.widened(6, padding=5)
    assert wide.tokens.tolist() == [[0, 1, 2, 5, 5, 5]]
    assert wide.segments.tolist() == [[0, 0, 0, -1, -1, -1]]
    assert wide.targets.tolist() == [[0, 1, 2, IGNORED, IGNORED, IGNORED]]


def test_nothing_packs_into_nothing():
    assert pack([], context=8, padding=0).tokens.shape == (0, 0)


@pytest.mark.parametrize("size", [1, 16])
def test_one_piece_makes_one_window_of_its_length(size):
    assert pack([Piece(np.arange(size), np.arange(size), 0)], 16, 0).tokens.shape == (1, size)
