"""Data sets of torch and of Hugging Face."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.curate.screen import screen
from dripstone.stream.datasets import is_dataset, read_dataset

hf = pytest.importorskip("datasets")

COLUMNS = TaskConfig(input="x")
FEATURES = {"x": hf.Value("string"), "label": hf.ClassLabel(names=["no", "yes"]), "n": hf.Value("int32")}


class Items(Dataset):
    """Map-style: a length and items, and no end where Python looks for one."""

    def __init__(self, *rows):
        self.rows = rows
        self.drawn = 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.drawn += 1
        return self.rows[index % len(self.rows)]


class Stream(IterableDataset):
    def __init__(self, *rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


class Plain:
    """As torch takes it: no base class."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return ("hi", index)


def seen(source, columns=COLUMNS):
    return [(row.inputs, row.target) for row in read_dataset(source, columns)]


@pytest.mark.parametrize("kind", [Items, Stream])
def test_mappings_and_pairs(kind):
    source = kind({"x": "hi", "label": "a", "more": 1}, ("ho", 3), ("hu", torch.tensor(4)))
    assert is_dataset(source)
    assert seen(source) == [("hi", "a"), ("ho", 3), ("hu", 4)]


def test_data_sets_made_of_data_sets():
    pairs = Items(("a", 1), ("b", 2))
    assert seen(Subset(pairs, [1])) == [("b", 2)]
    assert seen(ConcatDataset([pairs, pairs])) == [("a", 1), ("b", 2), ("a", 1), ("b", 2)]
    tensors = TensorDataset(torch.arange(4.0).reshape(2, 2), torch.tensor([5, 6]))
    assert [(inputs.tolist(), label) for inputs, label in seen(tensors)] == [([0.0, 1.0], 5), ([2.0, 3.0], 6)]


def test_no_base_class_is_needed():
    assert is_dataset(Plain())
    assert seen(Plain()) == [("hi", 0), ("hi", 1)]


def test_the_input_of_a_pair_may_fill_several_columns():
    columns = TaskConfig(input=["a", "b"])
    assert seen(Items((torch.tensor([1.0, 2.0]), "y")), columns)[0][0].tolist() == [1.0, 2.0]
    for bad in (torch.ones(3), 3, [1]):
        with pytest.raises(
            DataError, match=r"row 1: the input is not 2 values, one a column: .*; mend or remove that row"
        ):
            seen(Items((bad, "y")), columns)


def test_rows_are_drawn_one_by_one():
    source = Items(*[("hi", number) for number in range(9)])
    rows = read_dataset(source, COLUMNS)
    assert source.drawn == 0
    next(rows)
    next(rows)
    assert source.drawn == 2


def test_a_stream_without_an_end():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield "hi", 1

    assert next(read_dataset(Endless(), COLUMNS)).target == 1


@pytest.mark.parametrize("bad", [1, "hi", ("hi",), ("hi", 1, 2), ["hi", 1], torch.ones(2), None])
def test_rows_that_are_neither_mappings_nor_pairs(bad):
    with pytest.raises(
        DataError, match=r"row 2 is neither a mapping of columns nor a pair: .*; make rows \{'x'"
    ) as caught:
        seen(Items(("hi", 1), bad))
    assert caught.value.kind == "data.row"


def test_a_configured_column_that_a_pair_does_not_have():
    with pytest.raises(DataError, match="row 1 has no column 'w', only 'x', 'label'"):
        seen(Items(("hi", 1)), TaskConfig(input="x", weight="w"))
    assert next(read_dataset(Items(("hi", 1)), TaskConfig(input="x", weight="w"), labelled=False)).weight == 1.0


def test_a_data_set_that_cannot_be_walked():
    class Endless(Dataset):
        def __getitem__(self, index):
            return "hi", 1

    with pytest.raises(DataError, match="a Endless has neither a length nor an iterator; give it __len__ or __iter__"):
        seen(Endless())


def test_errors_of_the_data_set_are_its_own():
    class Broken(Plain):
        def __getitem__(self, index):
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        seen(Broken())


@pytest.fixture
def classes():
    data = {"x": ["a", "b", "c"], "label": [0, 1, -1], "n": [1, 2, 3]}
    return hf.Dataset.from_dict(data, features=hf.Features(FEATURES))


FORMS = {
    "a table": lambda data: data,
    "a stream": lambda data: data.to_iterable_dataset(),
    "torch's format": lambda data: data.with_format("torch"),
    "pandas' format": lambda data: data.with_format("pandas"),
    "numpy's format": lambda data: data.with_format("numpy"),
    "a stream in torch's format": lambda data: data.to_iterable_dataset().with_format("torch"),
}


@pytest.mark.parametrize("form", FORMS)
def test_class_numbers_become_names_whatever_the_format(classes, form):
    source = FORMS[form](classes)
    assert is_dataset(source)
    assert seen(source) == [("a", "no"), ("b", "yes"), ("c", None)]
    assert seen(source, TaskConfig(input="x", target="n")) == [("a", 1), ("b", 2), ("c", 3)]


def test_parts_of_a_table(classes):
    assert seen(classes.select([1])) == [("b", "yes")]
    assert seen(classes.select([])) == []
    assert sorted(seen(classes.select([0, 1]).shuffle(seed=1))) == [("a", "no"), ("b", "yes")]


def test_a_transform_makes_the_rows(classes):
    changed = classes.with_transform(
        lambda batch: {"y": [text.upper() for text in batch["x"]], "label": batch["label"]}
    )
    assert seen(changed, TaskConfig(input="y")) == [("A", 0), ("B", 1), ("C", -1)]


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column_of_a_table(classes, form):
    with pytest.raises(DataError, match="the data set has no column 'y', only 'x', 'label', 'n'; rename it"):
        seen(FORMS[form](classes), TaskConfig(input="y"))


def test_a_stream_of_unknown_columns():
    source = hf.IterableDataset.from_generator(lambda: iter([{"x": "hi", "label": 3}]))
    assert source.features is None
    assert seen(source) == [("hi", 3)]
    with pytest.raises(DataError, match="row 1 has no column 'y', only 'x', 'label'"):
        seen(source, TaskConfig(input="y"))


def test_without_labels_only_the_input_has_to_be_there(classes):
    rows = read_dataset(classes.remove_columns("label"), COLUMNS, labelled=False)
    assert [row.target for row in rows] == [None, None, None]


def test_missing_values_are_screened_out_alone():
    features = hf.Features({"x": hf.Value("string"), "label": hf.ClassLabel(names=["no", "yes"])})
    texts = hf.Dataset.from_dict({"x": ["a", None, "c"], "label": [0, 1, None]}, features=features)
    assert screen(read_dataset(texts, COLUMNS), kind="text").reasons() == {
        "the text is empty": 1,
        "the label is missing": 1,
    }
    lists = hf.Dataset.from_dict({"x": [[1.0], None], "label": ["a", "b"]})
    reasons = screen(read_dataset(lists, COLUMNS), kind="array").reasons()
    assert reasons == {"the input holds NaN or infinity": 1}


def test_columns_that_are_not_wanted_are_not_decoded():
    pytest.importorskip("PIL")
    features = hf.Features({"x": hf.Value("string"), "label": hf.Value("string"), "picture": hf.Image()})
    broken = {"bytes": b"no picture", "path": None}
    source = hf.Dataset.from_dict({"x": ["hi"], "label": ["a"], "picture": [broken]}, features=features)
    assert seen(source) == [("hi", "a")]


@pytest.mark.parametrize("form", FORMS)
def test_pictures_have_their_channels_first_whatever_the_format(form):
    picture = pytest.importorskip("PIL.Image").new("RGB", (4, 2), (7, 8, 9))
    features = hf.Features({"x": hf.Image(), "label": hf.ClassLabel(names=["no", "yes"])})
    source = hf.Dataset.from_dict({"x": [picture], "label": [1]}, features=features)
    ((inputs, label),) = seen(FORMS[form](source))
    assert (inputs.shape, inputs.dtype, label) == ((3, 2, 4), np.dtype("float32"), "yes")
    assert inputs[:, 0, 0].tolist() == [7.0, 8.0, 9.0]


def test_arrays_of_a_known_shape():
    features = hf.Features({"x": hf.Array2D((2, 2), "float32"), "label": hf.Value("int8")})
    source = hf.Dataset.from_dict({"x": [[[1, 2], [3, 4]]], "label": [0]}, features=features)
    assert seen(source)[0][0].tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("source", [[], (), {}, "ab", b"ab", 3, None, np.zeros((2, 2)), torch.zeros(2, 2), iter([])])
def test_what_is_no_data_set(source):
    assert not is_dataset(source)
