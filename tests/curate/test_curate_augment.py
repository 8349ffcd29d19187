"""What the loop sees of rows, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.core.errors import UsageError
from dripstone.curate.augment import DROPPED, JITTER, KINDS, MASKED, PICTURES, Augment, Change
from dripstone.models.preprocess import Image, Stack, Vector

TEXT = " ".join(f"word{i}" for i in range(200))


def test_words_are_dropped_and_masked_at_their_shares():
    changed = Change(("drop", "mask"), mask_token="[MASK]")([TEXT] * 50, np.random.default_rng(0))
    words = [text.split() for text in changed]
    masked = np.mean([line.count("[MASK]") for line in words]) / 200
    left = np.mean([len(line) for line in words]) / 200
    assert abs(masked - MASKED) < 0.02
    assert abs(left - (1 - DROPPED)) < 0.02
    assert len(set(changed)) == 50
    kept = [word for word in words[0] if word != "[MASK]"]
    assert kept == [word for word in TEXT.split() if word in set(kept)]  # in their order


def test_each_change_alone():
    drop, mask = (Change((name,), mask_token="<m>")([TEXT], np.random.default_rng(0))[0] for name in ("drop", "mask"))
    assert "<m>" not in drop
    assert len(drop.split()) < 200
    assert len(mask.split()) == 200
    assert "<m>" in mask


@pytest.mark.parametrize("text", ["", " ", "word", "😀"])
def test_a_text_of_one_word_stays(text):
    for seed in range(30):
        assert Change(("drop", "mask"), mask_token="[MASK]")([text], np.random.default_rng(seed)) == [text]


def test_something_is_left_of_every_text_and_nothing_is_masked_without_a_token():
    for seed in range(300):
        (found,) = Change(("drop", "mask"))(["two words"], np.random.default_rng(seed))
        assert set(found.split()) <= {"two", "words"}
        assert found


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 1, 1)])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_keep_shape_and_type_and_are_not_touched(name, shape):
    row = np.random.default_rng(0).random(shape).astype(np.float32)
    before = row.copy()
    for given in (row, row.reshape(-1)):
        (found,) = Change((name,), picture=shape)([given], np.random.default_rng(1))
        assert (found.shape, found.dtype) == (given.shape, np.float32)
    assert (row == before).all()


def test_what_each_change_does_to_a_picture():
    row = np.arange(64, dtype=np.float32).reshape(1, 8, 8)

    def seen(name):
        return {Change((name,), picture=(1, 8, 8))([row], np.random.default_rng(s))[0].tobytes() for s in range(60)}

    assert seen("flip") == {row.tobytes(), row[:, :, ::-1].tobytes()}
    shifts = seen("shift")
    assert row[:, 1:, :].tobytes() not in shifts
    assert len(shifts) == 9  # a pixel to either side, or none, both ways
    assert len(seen("noise")) == 60
    assert all(set(np.frombuffer(one, np.float32)) <= set(row.flat) for one in seen("crop"))


def test_tables_are_jittered_by_each_columns_deviation():
    rows = list(np.random.default_rng(0).normal(0, [1, 100], (4000, 2)).astype(np.float32))
    found = np.stack(Change(("jitter",))(rows, np.random.default_rng(1))) - np.stack(rows)
    assert found.std(axis=0) == pytest.approx([JITTER, 100 * JITTER], rel=0.1)
    assert (Change(("jitter",))(rows[:1], np.random.default_rng(1))[0] == rows[0]).all()  # one row has no deviation


def test_what_suits_a_model_is_taken_but_for_flips():
    assert Augment().fit(Image((8, 8))).names == ("shift", "crop", "noise")
    assert Augment(("flip",)).fit(Image((8, 8))).names == ("flip",)
    assert Augment().fit(Vector(4)).names == ("jitter",)
    assert Augment().fit(Stack()).picture is None


@pytest.mark.parametrize(
    ("name", "preprocess", "what"), [("drop", Vector(4), "tables"), ("jitter", Image((2, 2)), "pictures")]
)
def test_what_does_not_suit_is_refused(name, preprocess, what):
    with pytest.raises(UsageError, match=f"augment:{name} does not suit this model, which takes {what}; use augment:"):
        Augment((name,)).fit(preprocess)


def test_nothing_is_masked_where_a_tokenizer_has_no_mask():
    class Texts(Stack):
        kind = "text"

    assert Augment().fit(Texts()).names == ("drop", "mask")
    assert Augment(("drop",)).fit(Texts()).names == ("drop",)
    with pytest.raises(UsageError, match=r"augment:mask does not suit this model, .* no token .*; use augment:drop"):
        Augment(("drop", "mask")).fit(Texts())
    Texts.mask_token = "[MASK]"
    assert Augment(("mask",)).fit(Texts()) == Change(("mask",), mask_token="[MASK]")


@pytest.mark.parametrize("names", [("jitter",), ("noise",), ("shift", "flip", "crop", "noise")])
def test_large_numbers_do_not_overflow(names):
    picture = None if names == ("jitter",) else (1, 2, 2)
    given = [np.array([1e20, -1e20, 3e30, 0], dtype=np.float32).reshape(1, 2, 2) * scale for scale in (1, 2)]
    for row in Change(names, picture=picture)(given, np.random.default_rng(0)):
        assert row.dtype == np.float32
        assert np.isfinite(row).all()


@pytest.mark.parametrize("change", [Change(("jitter",)), Change(("drop",)), Change(("noise",), picture=(1, 2, 2))])
def test_no_rows_are_no_rows_and_given_ones_are_not_touched(change):
    draw = np.random.default_rng(0)
    texts = "drop" in change.names
    given = [TEXT, TEXT] if texts else [draw.random((1, 2, 2)).astype(np.float32) for _ in range(2)]
    before = [row if texts else row.copy() for row in given]
    changed = change(given, draw)
    assert all(np.array_equal(row, old) for row, old in zip(given, before, strict=True))
    assert not any(np.array_equal(row, new) for row, new in zip(given, changed, strict=True))


def test_every_change_belongs_to_a_kind():
    assert {name for names in KINDS.values() for name in names} == {"drop", "mask", "jitter", *PICTURES}
