import copy

import numpy as np
import pytest
import torch

from dripstone.core.errors import DataError, ModelError
from dripstone.core.fork import fork, named_tensors
from dripstone.models.preprocess import Image, Stack, Text, Vector


@pytest.fixture(scope="module")
def tokenizer_json(encoder_folder):
    return (encoder_folder / "tokenizer.json").read_bytes()


class TestVector:
    def test_columns_in_different_units_count_alike(self):
        rng = np.random.default_rng(0)
        rows = list((rng.normal(size=(200, 3)) * [1.0, 1000.0, 5.0] + [0.0, 2000.0, 3.0]).astype("f4"))
        vector = Vector(3)
        vector.fit(rows)
        batch = vector.collate(rows)
        assert batch.dtype == torch.float32
        assert torch.allclose(batch.mean(0), torch.zeros(3), atol=1e-4)
        assert (batch.std(0)[1:] - 1).abs().max() < 0.02

    def test_a_column_that_hardly_moves_is_not_blown_up(self):
        rows = [
            np.array([x, y, 0.001 * (i == 0), 0.1]) for i, (x, y) in enumerate(np.random.default_rng(0).random((50, 2)))
        ]
        vector = Vector(4)
        vector.fit(rows)
        assert vector.collate(rows)[:, 2:].abs().max() < 0.02
        later = vector.collate([np.array([0.5, 0.5, 1.0, 1.1])])
        assert later.abs().max() < 10

    def test_constant_rows_are_only_shifted(self):
        vector = Vector(2)
        vector.fit([np.array([3.0, 0.1])] * 7)
        assert vector.scale.tolist() == [1.0, 1.0]

    def test_the_first_stage_decides(self):
        vector = Vector(2)
        vector.fit([])
        assert not vector.fitted
        vector.fit([np.array([0.0, 1.0]), np.array([2.0, 3.0])])
        shift, scale = vector.shift.clone(), vector.scale.clone()
        vector.fit([np.array([50.0, 60.0]), np.array([80.0, 90.0])])
        assert vector.fitted
        assert torch.equal(vector.shift, shift)
        assert torch.equal(vector.scale, scale)

    def test_fitting_a_fork_leaves_its_parent_alone(self):
        parent = Vector(1)
        fork(parent, []).fit([np.array([1.0]), np.array([3.0])])
        assert not parent.fitted
        assert list(named_tensors(parent)) == ["shift", "scale", "fitted"]

    @pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?"])
    def test_every_kind_of_number(self, dtype):
        assert Vector(2).collate([np.array([0, 1], dtype=dtype)]).tolist() == [[0.0, 1.0]]

    @pytest.mark.parametrize(
        ("row", "kind", "message"),
        [
            (np.zeros(3), "data.shape", r"row 1 has shape \(3,\), the model takes \(2,\)"),
            (np.zeros((2, 1)), "data.shape", r"row 1 has shape \(2, 1\)"),
            ("hello", "data.kind", "row 1 is a text, the model takes an array"),
            (np.array(["a", "b"]), "data.kind", "row 1 is an array of <U1"),
            (np.array([None, 1.0]), "data.kind", "row 1 is an array of object"),
            ([1.0, 2.0], "data.kind", "row 1 is of type list"),
            (np.array([1.0, np.nan]), "data.not_finite", "row 1 holds a number that is not finite"),
            (np.array([1.0, -np.inf]), "data.not_finite", "row 1"),
            (np.array([1.0, 1e300]), "data.not_finite", "row 1"),
        ],
    )
    def test_bad_rows_are_named(self, row, kind, message):
        for act in (Vector(2).collate, Vector(2).fit):
            with pytest.raises(DataError, match=message) as caught:
                act([np.zeros(2), row])
            assert caught.value.kind == kind

    def test_no_rows(self):
        with pytest.raises(DataError) as caught:
            Vector(2).collate([])
        assert caught.value.kind == "data.empty"

    def test_no_columns(self):
        with pytest.raises(ModelError, match="0 values"):
            Vector(0)


class TestImage:
    def test_accepts_the_shape_flat_and_without_its_only_channel(self):
        image = Image((2, 3))
        rows = [np.arange(6.0), np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(1, 2, 3)]
        batch = image.collate(rows)
        assert batch.shape == (3, 1, 2, 3)
        assert torch.equal(batch[0], batch[1])
        assert torch.equal(batch[1], batch[2])

    def test_colour_needs_its_channels(self):
        image = Image((3, 2, 2))
        assert image.collate([np.zeros((3, 2, 2)), np.zeros(12)]).shape == (2, 3, 2, 2)
        with pytest.raises(DataError, match=r"row 0 has shape \(2, 2\), the model takes \(3, 2, 2\) or \(12,\)"):
            image.collate([np.zeros((2, 2))])

    def test_one_mean_and_deviation_for_all_pixels_set_once(self):
        rows = [row * 16 for row in np.random.default_rng(0).random((30, 8, 8))]
        image = Image((8, 8))
        image.fit(rows)
        batch = image.collate(rows)
        assert batch.mean().abs() < 1e-5
        assert (batch.std(unbiased=False) - 1).abs() < 1e-5
        image.fit([row * 100 for row in rows])
        assert torch.equal(image.collate(rows), batch)

    def test_blank_pictures_are_only_shifted(self):
        image = Image((2, 2))
        image.fit([np.full((2, 2), 7.0)] * 3)
        assert image.scale == 1.0

    def test_bad_pixels(self):
        with pytest.raises(DataError) as caught:
            Image((1, 2)).collate([np.array([[np.inf, 0.0]])])
        assert caught.value.kind == "data.not_finite"

    @pytest.mark.parametrize("shape", [(8,), (1, 1, 8, 8), (0, 8)])
    def test_bad_shapes(self, shape):
        with pytest.raises(ModelError, match="no shape of a picture"):
            Image(shape)


class TestStack:
    def test_keeps_the_shape(self):
        assert Stack().collate([np.zeros((2, 3)), np.ones((2, 3))]).shape == (2, 2, 3)

    def test_rows_of_two_shapes(self):
        with pytest.raises(DataError, match=r"row 1 has shape \(2,\), the model takes \(3,\)"):
            Stack().collate([np.zeros(3), np.zeros(2)])

    def test_text(self):
        with pytest.raises(DataError, match="row 0 is a text"):
            Stack().collate(["hello"])


class TestText:
    def test_pads_to_the_longest_of_the_batch(self, tokenizer_json):
        batch = Text(tokenizer_json, 16).collate(["where is my card", "hello"])
        assert batch["input_ids"].shape == (2, 6)
        assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
        assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
        assert batch["input_ids"][1, 3:].tolist() == [0, 0, 0]

    def test_cuts_to_max_length(self, tokenizer_json):
        assert Text(tokenizer_json, 5).collate(["where is my card lost"])["input_ids"].tolist() == [[2, 4, 5, 6, 3]]

    def test_an_empty_text_attends_to_something(self, tokenizer_json):
        assert Text(tokenizer_json, 5).collate([""])["attention_mask"].tolist() == [[1, 1]]

    def test_a_tokenizer_without_special_tokens_and_padding(self):
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        text = Text(tokenizer.to_str().encode(), 4)
        assert text.collate(["", ""])["input_ids"].shape == (2, 1)
        assert text.collate(["", "a a"])["attention_mask"].tolist() == [[1, 0], [1, 1]]

    def test_half_a_surrogate_pair_does_no_harm(self, tokenizer_json):
        assert Text(tokenizer_json, 8).collate(["hello \ud800"])["input_ids"].shape == (1, 4)

    def test_copies_share_the_tokenizer(self, tokenizer_json):
        text = Text(tokenizer_json, 8)
        assert copy.deepcopy(text).tokenizer is text.tokenizer

    @pytest.mark.parametrize("row", [np.zeros(3), None, 5])
    def test_other_rows_are_refused(self, tokenizer_json, row):
        with pytest.raises(DataError, match=r"row 1 is .*the model takes text") as caught:
            Text(tokenizer_json, 8).collate(["hello", row])
        assert caught.value.kind == "data.kind"

    def test_no_rows(self, tokenizer_json):
        with pytest.raises(DataError, match="no rows"):
            Text(tokenizer_json, 8).collate([])

    @pytest.mark.parametrize("junk", [b"", b"{}", b"\xff\xfe", b'{"model": 1}'])
    def test_bytes_that_are_no_tokenizer(self, junk):
        with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
            Text(junk, 8)

    def test_more_bytes_than_a_tokenizer_has(self, monkeypatch, tokenizer_json):
        monkeypatch.setattr("dripstone.models.tokenizer_json.LARGEST", 10)
        with pytest.raises(ModelError, match="bytes, more than 10"):
            Text(tokenizer_json, 8)

    def test_no_room_for_a_word(self, tokenizer_json):
        with pytest.raises(ModelError, match="set max_length to at least 3"):
            Text(tokenizer_json, 2)
