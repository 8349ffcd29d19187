"""Data frames: the same rows from every library, missing values included."""

from __future__ import annotations

import datetime
import decimal
import sys

import numpy as np
import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.curate.screen import screen
from dripstone.stream.frames import ROWS, is_frame, read_frame

nw = pytest.importorskip("narwhals")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

COLUMNS = TaskConfig(input="x")
FRAMES = {
    "pandas": pd.DataFrame,
    "pandas with its own types": lambda data: pd.DataFrame(data).convert_dtypes(),
    "polars": pl.DataFrame,
    "polars, lazy": pl.LazyFrame,
    "narwhals": lambda data: nw.from_native(pl.DataFrame(data)),
    "narwhals, lazy": lambda data: nw.from_native(pl.LazyFrame(data)),
    "narwhals of pandas": lambda data: nw.from_native(pd.DataFrame(data)),
}


@pytest.mark.parametrize("library", FRAMES)
def test_every_column_finds_its_place_and_missing_values_are_none(library):
    data = {
        "x": ["hi", "ho"],
        "label": ["a", None],
        "key": [7, 8],
        "group": ["old", None],
        "w": [2.5, None],
        "at": [datetime.datetime(2026, 1, 2), None],
        "more": [1, 2],
    }
    columns = TaskConfig(input="x", id="key", slice="group", weight="w", time="at")
    source = FRAMES[library](data)
    assert is_frame(source)
    first, second = read_frame(source, columns)
    assert (first.inputs, first.target, first.id, first.slice) == ("hi", "a", "7", "old")
    assert (first.weight, first.time, first.origin) == (2.5, "2026-01-02 00:00:00", "row 1")
    assert (second.target, second.slice, second.weight, second.time) == (None, None, 1.0, None)


@pytest.mark.parametrize("library", FRAMES)
def test_several_columns_make_a_vector_and_a_missing_value_is_not_a_number(library):
    source = FRAMES[library]({"a": [1, 2], "b": [0.5, None], "label": [3, 4]})
    first, second = read_frame(source, TaskConfig(input=["b", "a"]))
    assert (first.inputs.tolist(), first.target, type(first.target)) == ([0.5, 1.0], 3, int)
    assert np.isnan(second.inputs[0])
    assert second.inputs[1] == 2.0


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (["hi", None], "text", "the text is empty"),
        ([1.5, None], "array", "the input holds NaN or infinity"),
        ([[1.5, 2.0], None], "array", "the input holds NaN or infinity"),
    ],
)
def test_a_missing_input_is_screened_out_alone(library, values, kind, reason):
    screened = screen(read_frame(FRAMES[library]({"x": values, "label": ["a", "b"]}), COLUMNS), kind=kind)
    assert [row.origin for row in screened.kept] == ["row 1"]
    assert screened.reasons() == {reason: 1}


@pytest.mark.parametrize("library", FRAMES)
def test_lists_become_arrays(library):
    rows = list(read_frame(FRAMES[library]({"x": [[1, 2], [3, 4]], "label": [True, False]}), COLUMNS))
    assert [row.inputs.tolist() for row in rows] == [[1.0, 2.0], [3.0, 4.0]]
    assert [row.target for row in rows] == [True, False]


def test_arrays_within_a_frame_of_pandas():
    nested = np.empty(2, dtype=object)
    nested[:] = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]  # a list of lists as pandas reads it from Parquet
    frame = pd.DataFrame({"x": [np.eye(2), nested], "label": ["a", "b"]})
    assert [row.inputs.tolist() for row in read_frame(frame, COLUMNS)] == [[[1, 0], [0, 1]], [[1, 2], [3, 4]]]


def test_arrays_within_a_frame_of_polars():
    schema = {"x": pl.Array(pl.Float32, (2, 2)), "label": pl.Categorical, "d": pl.Decimal(10, 0)}
    frame = pl.DataFrame({"x": [[[1, 2], [3, 4]]], "label": ["a"], "d": [decimal.Decimal(5)]}, schema=schema)
    row = next(read_frame(frame, COLUMNS))
    assert (row.inputs.tolist(), row.target) == ([[1.0, 2.0], [3.0, 4.0]], "a")
    assert next(read_frame(frame, TaskConfig(input="x", target="d"))).target == 5


def test_categories_and_numbers_of_pandas():
    frame = pd.DataFrame({"x": ["hi", "ho"], "label": pd.Categorical(["a", None])})
    assert [row.target for row in read_frame(frame, COLUMNS)] == ["a", None]
    small = pd.DataFrame({"x": ["hi"], "label": np.array([200], np.uint8), "h": np.array([0.5], np.float16)})
    row = next(read_frame(small, TaskConfig(input=["h"])))
    assert (row.inputs.tolist(), row.target, type(row.target)) == ([0.5], 200, int)


def test_not_a_number_is_a_value_where_missing_ones_have_their_own():
    frame = pl.DataFrame({"x": ["a", "b"], "label": ["a", "b"], "w": [float("nan"), None]})
    first, second = read_frame(frame, TaskConfig(input="x", weight="w"))
    assert np.isnan(first.weight)
    assert second.weight == 1.0


@pytest.mark.parametrize("library", FRAMES)
def test_more_rows_than_are_drawn_at_once(library):
    count = 2 * ROWS + 1
    rows = list(read_frame(FRAMES[library]({"x": [str(i) for i in range(count)], "label": ["a"] * count}), COLUMNS))
    assert [row.inputs for row in rows] == [str(number) for number in range(count)]
    assert rows[-1].origin == f"row {count}"


@pytest.mark.parametrize("library", FRAMES)
def test_an_iteration_that_is_given_up(library):
    rows = read_frame(FRAMES[library]({"x": ["a"] * 5000, "label": ["a"] * 5000}), COLUMNS)
    assert next(rows).inputs == "a"
    rows.close()


def test_a_lazy_frame_is_computed_for_the_wanted_columns_alone():
    def fail(series):
        raise AssertionError("this column was not asked for")

    frame = pl.LazyFrame({"x": ["hi"], "label": ["a"], "more": [1]})
    frame = frame.with_columns(pl.col("more").map_batches(fail, return_dtype=pl.Int64))
    assert [row.inputs for row in read_frame(frame, COLUMNS)] == ["hi"]


@pytest.mark.parametrize("library", ["pandas", "polars", "polars, lazy"])
def test_no_rows(library):
    assert list(read_frame(FRAMES[library]({"x": [], "label": []}), COLUMNS)) == []


@pytest.mark.parametrize("library", FRAMES)
def test_a_missing_column_is_named(library):
    source = FRAMES[library]({"X": ["hi"], "label": ["a"]})
    with pytest.raises(DataError, match="the frame has no column 'x', only 'X', 'label'; rename 'X'") as caught:
        next(read_frame(source, COLUMNS))
    assert caught.value.kind == "data.column"


def test_columns_without_names():
    with pytest.raises(DataError, match="the frame has no column 'x', only 0, 1; rename it"):
        next(read_frame(pd.DataFrame([["hi", "a"]]), COLUMNS))


def test_two_columns_of_one_name():
    frame = pd.DataFrame([["hi", "a", "b"]], columns=["x", "label", "label"])
    with pytest.raises(DataError, match="the frame: two columns are called 'label'; rename one of them"):
        next(read_frame(frame, COLUMNS))


@pytest.mark.parametrize("library", FRAMES)
def test_without_labels_only_the_input_has_to_be_there(library):
    source = FRAMES[library]({"x": ["hi"]})
    assert [row.target for row in read_frame(source, COLUMNS, labelled=False)] == [None]


@pytest.mark.parametrize("library", FRAMES)
def test_a_bad_value_names_its_row(library):
    source = FRAMES[library]({"x": ["a", "b"], "label": ["a", "b"], "w": ["1", "heavy"]})
    with pytest.raises(DataError, match="row 2: the weight is not a number: 'heavy'"):
        list(read_frame(source, TaskConfig(input="x", weight="w")))


@pytest.mark.parametrize("library", FRAMES)
def test_inputs_that_are_neither_text_nor_numbers(library):
    source = FRAMES[library]({"x": [["a"]], "label": ["a"]})
    with pytest.raises(DataError, match="row 1: the input is neither a text nor numbers"):
        next(read_frame(source, COLUMNS))


@pytest.mark.parametrize(
    "source", [[], {}, 3, None, pd.Series([1]), pl.Series([1]), np.zeros((2, 2)), pd.DataFrame({"a": [1]}).groupby("a")]
)
def test_what_is_no_frame(source):
    assert not is_frame(source)


def test_a_subclass_is_a_frame():
    class Table(pd.DataFrame):
        pass

    assert is_frame(Table())


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(UsageError, match=r"need the package 'narwhals'; pip install 'dripstone\[frames\]'"):
        next(read_frame(pd.DataFrame({"x": ["hi"], "label": ["a"]}), COLUMNS))
