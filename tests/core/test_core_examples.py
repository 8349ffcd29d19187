"""Ids, normal forms and the keyed hash that holds rows out."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dripstone.core.examples import Example, content_id, holdout_hash, is_held_out, normal_form

KEY = b"k" * 32
FLOATS = arrays.arrays(np.float32, st.integers(1, 6), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def share_held_out(rows, share=0.2, key=KEY):
    return sum(is_held_out(key, row, share) for row in rows) / len(rows)


def test_an_example_is_frozen_and_has_plain_defaults():
    row = Example("7", "hello")
    assert (row.target, row.weight, row.time, row.slice, row.origin) == (None, 1.0, None, None, "")
    with pytest.raises(AttributeError):
        row.id = "8"


def test_the_id_is_that_of_the_exact_text():
    assert content_id("card") == hashlib.sha256(b"text\0card").hexdigest()[:32]
    assert len({content_id(text) for text in ("card", "Card", "card ", "card?", "")}) == 5


def test_the_id_of_an_array_knows_shape_and_bits():
    flat = np.arange(4, dtype=np.float32)
    different = [flat, flat.reshape(2, 2), flat.reshape(4, 1), np.nextafter(flat, 9), flat[:0]]
    assert len({content_id(array) for array in different}) == 5
    assert content_id(flat.astype(">f4")) == content_id(flat) == content_id(np.repeat(flat, 2)[::2])


def test_a_text_never_has_the_id_of_an_array():
    assert content_id("(1,)\0\0\0\0\0") != content_id(np.zeros(1, dtype=np.float32))


def test_half_a_character_still_has_an_id_and_a_side():
    assert content_id("\ud800") != content_id("\ud801")
    assert holdout_hash(KEY, "a \ud800") >= 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my card?", "where is my  card"),
        ("naïve café", "NAIVE CAFE!"),
        ("Straße", "STRASSE"),
        ("ﬁle № 1", "file No 1"),
        ("well_known-thing", "well known thing"),
        ("\tcard\n", "card"),
        (unicodedata.normalize("NFC", "Å ö ñ"), unicodedata.normalize("NFD", "Å ö ñ")),
        ("ＦＵＬＬ", "full"),
    ],
)
def test_near_duplicates_of_a_text_share_a_side(one, other):
    assert normal_form(one) == normal_form(other)
    for number in range(50):
        key = bytes([number]) * 32
        assert is_held_out(key, one, 0.5) == is_held_out(key, other, 0.5)


@pytest.mark.parametrize(
    ("one", "other"), [("card 1", "card 2"), ("!!", "??"), ("😀", "😡"), ("", " "), ("пора", "гора"), ("猫", "犬")]
)
def test_other_texts_are_told_apart(one, other):
    assert normal_form(one) != normal_form(other)


@given(st.text(max_size=30))
def test_case_composition_and_padding_never_matter(text):
    words = normal_form(text).removeprefix(b"text\0").decode()
    assume(any(character.isalnum() for character in words))
    assert normal_form(unicodedata.normalize("NFD", text)) == normal_form(text)
    assert normal_form(f" {text}. ") == normal_form(text)
    assert normal_form(text.casefold()) == normal_form(text)


def test_the_last_digits_of_numbers_do_not_count():
    row = np.array([1.0, -250.0, 0.004, 0.0, 1e20], dtype=np.float32)
    assert normal_form(row * np.float32(1.00001)) == normal_form(row)
    assert normal_form(-row * 0) == normal_form(row * 0)
    assert normal_form(row + 0.0) != normal_form(row * np.float32(1.01))


def test_noise_far_below_the_largest_number_does_not_count():
    assert normal_form(np.array([1.0, 1e-9])) == normal_form(np.array([1.0, -3e-9])) == normal_form(np.array([1.0, 0]))


def test_the_shape_counts():
    row = np.arange(4, dtype=np.float32)
    assert len({normal_form(row), normal_form(row.reshape(2, 2)), normal_form(row[:0])}) == 3


@given(FLOATS)
def test_rounding_keeps_three_digits_and_is_stable(row):
    form = normal_form(row)
    rounded = np.frombuffer(form[-row.nbytes :], dtype="<f4")
    scale = np.abs(row).max()
    assert np.all(np.abs(rounded - row) <= np.maximum(np.abs(row) / 1000, scale * 1e-6) + 1e-44)
    assert normal_form(rounded) == form


def test_the_largest_numbers_round_without_a_warning():
    assert normal_form(np.array([np.finfo(np.float32).max, 1.0], dtype=np.float32))


@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1.0, 1e6])
def test_the_share_is_held_out_at_every_scale_of_numbers(scale):
    rows = (np.random.default_rng(0).normal(size=(2000, 4)) * scale).astype(np.float32)
    rows[:, 2] = 0.0
    assert 0.17 < share_held_out(rows) < 0.23
    assert len({normal_form(row) for row in rows}) == 2000


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_share_of_texts_is_held_out(share):
    rows = [f"question {number}" for number in range(4000)]
    assert abs(share_held_out(rows, share) - share) < 0.03


def test_nothing_or_everything():
    rows = [f"question {number}" for number in range(100)]
    assert share_held_out(rows, 0.0) == 0.0
    assert share_held_out(rows, 1.0) == 1.0


def test_a_larger_share_holds_the_same_rows_and_more():
    rows = [f"question {number}" for number in range(500)]
    small = {row for row in rows if is_held_out(KEY, row, 0.1)}
    assert small < {row for row in rows if is_held_out(KEY, row, 0.3)}


def test_the_key_decides():
    rows = [f"question {number}" for number in range(1000)]
    one, other = ({row for row in rows if is_held_out(key, row, 0.5)} for key in (b"a" * 32, b"b" * 32))
    assert 200 < len(one & other) < 300


def test_the_hash_is_fixed_for_ever():
    assert holdout_hash(KEY, "Hello, world!") == 0xE9EBCF037A26A570
    assert holdout_hash(KEY, np.array([1.0, -2.5], dtype=np.float32)) == 0x30E141760A8044A5
