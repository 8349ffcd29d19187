"""Sketches of texts beside the share of their pieces that they really have in common."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from dripstone.curate import minhash
from dripstone.curate.minhash import BAND, NUMBERS, PIECE, are_texts_alike, sketch_texts, text_buckets

WORDS = ["where", "is", "my", "card", "i", "lost", "it", "on", "the", "way", "to", "work", "and", "need", "a", "new"]


def pieces(text: str) -> set[str]:
    return {text[start : start + PIECE] for start in range(max(1, len(text) - PIECE + 1))}


def in_common(one: str, other: str) -> float:
    return len(pieces(one) & pieces(other)) / len(pieces(one) | pieces(other))


def pairs():
    draw = np.random.default_rng(0)
    for _ in range(300):
        words = [WORDS[i] for i in draw.integers(0, len(WORDS), 20)]
        other = [word if draw.random() < 0.9 else WORDS[draw.integers(0, len(WORDS))] for word in words]
        yield " ".join(words), " ".join(other)


def in_chinese(text: str) -> str:
    """Other characters for the same ones, of three bytes each."""
    return "".join(chr(0x4E00 + ord(character)) for character in text)


@pytest.mark.parametrize("written", [str, in_chinese])
def test_sketches_agree_as_often_as_texts_have_pieces_in_common(written):
    ones, others = zip(*[(written(one), written(other)) for one, other in pairs()], strict=True)
    found = (sketch_texts(ones) == sketch_texts(others)).mean(axis=1)
    truth = np.array([in_common(one, other) for one, other in zip(ones, others, strict=True)])
    assert abs(float((found - truth).mean())) < 0.01
    assert float(np.abs(found - truth).std()) < 0.06


def test_sketches_do_not_depend_on_the_process_or_on_the_other_texts():
    script = "from dripstone.curate.minhash import *; print(sketch_texts(['hello there']).tolist())"
    other = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert other.stdout.strip() == str(sketch_texts(["hello there"]).tolist())
    assert (sketch_texts(["a", "hello there"])[1] == sketch_texts(["hello there"])[0]).all()


def test_pieces_are_of_characters_whatever_bytes_they_take():
    for one, other in [("😀😃😄😁", "😀😃😄😅"), ("我想取消我的订单", "我的订单我想取消")]:
        assert (sketch_texts([one]) == sketch_texts([other])).mean() < 0.5


def test_how_many_pieces_are_hashed_together_changes_nothing(monkeypatch):
    text = "".join(map(chr, np.random.default_rng(0).integers(97, 122, 3000)))
    whole = sketch_texts([text, "short"])
    monkeypatch.setattr(minhash, "AT_ONCE", 7)
    assert (sketch_texts([text, "short"]) == whole).all()


@pytest.mark.parametrize("text", ["", "a", "abc", "abcd", "😀", "\ud83d"])
def test_short_texts_have_sketches_and_are_like_themselves(text):
    one, other = sketch_texts([text]), sketch_texts([text])
    assert one.shape == (1, NUMBERS)
    assert one.dtype == np.int32
    assert are_texts_alike(one, other, 1.0).tolist() == [True]


def test_alike_texts_share_a_bucket_and_others_do_not():
    alike = [(one, other) for one, other in pairs() if in_common(one, other) >= 0.8]
    assert len(alike) > 30
    ones, others = (text_buckets(sketch_texts(part)) for part in zip(*alike, strict=True))
    assert ones.shape == (len(alike), NUMBERS // BAND)
    assert ((ones == others).any(axis=1)).mean() > 0.99
    draw = np.random.default_rng(1)
    strangers = text_buckets(sketch_texts(["".join(map(chr, draw.integers(32, 126, 80))) for _ in range(200)]))
    assert sum(len(np.unique(column)) < 200 for column in strangers.T) <= 2


def test_no_texts():
    assert text_buckets(sketch_texts([])).shape == (0, NUMBERS // BAND)
