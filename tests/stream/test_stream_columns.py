"""One record becomes one example, or an error that names the row and the column."""

from __future__ import annotations

import datetime
import decimal
import enum
import io
import uuid

import numpy as np
import pytest
import torch

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import content_id
from dripstone.stream.columns import record_excerpt, to_example, to_inputs, wanted_columns

EMPTY = dict.fromkeys(("key", "group", "w", "at"))
ALL = TaskConfig(input="x", id="key", slice="group", weight="w", time="at")


class Colour(enum.IntEnum):
    RED = 3


class Word(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    YES = "yes"


def example(**record):
    return to_example({"x": "hi", "label": "a", **EMPTY, **record}, ALL, "row 1")


def test_every_column_finds_its_place():
    row = example(key="k", group="old", w=2, at="2026-01-01", other=1)
    assert (row.id, row.inputs, row.target, row.weight) == ("k", "hi", "a", 2.0)
    assert (row.time, row.slice, row.origin) == ("2026-01-01", "old", "row 1")


def test_optional_columns_may_be_null_or_empty():
    for record in (EMPTY, dict.fromkeys(EMPTY, "")):
        row = example(**record)
        assert (row.id, row.weight, row.time, row.slice) == (content_id("hi"), 1.0, None, None)


def test_columns_that_are_not_configured_are_not_read():
    row = to_example({"inputs": "hi", "label": "a", "id": "k", "weight": 5}, TaskConfig(), "row 1")
    assert (row.id, row.weight) == (content_id("hi"), 1.0)


@pytest.mark.parametrize("missing", list(EMPTY))
def test_a_configured_column_has_to_be_there_in_labelled_rows(missing):
    record = {"x": "hi", "label": "a", **EMPTY}
    del record[missing]
    with pytest.raises(DataError, match=f"row 1 has no column '{missing}'"):
        to_example(record, ALL, "row 1")
    assert to_example(record, ALL, "row 1", labelled=False).weight == 1.0


@pytest.mark.parametrize("missing", ["x", "label"])
def test_a_missing_column_is_named_with_those_that_are_there(missing):
    record = {"x": "hi", "label": "a"}
    del record[missing]
    with pytest.raises(DataError, match=f"row 1 has no column '{missing}', only '{next(iter(record))}'") as caught:
        to_example(record, TaskConfig(input="x"), "row 1")
    assert caught.value.kind == "data.column"


def test_a_missing_column_of_a_wide_or_empty_record():
    with pytest.raises(DataError, match="only nothing"):
        to_example({}, ALL, "row 1")
    with pytest.raises(DataError) as caught:
        to_example({f"column {number}": 0 for number in range(100_000)}, ALL, "row 1")
    assert "and 99980 more" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_without_labels_the_target_may_be_absent_but_is_read():
    assert to_example({"x": "hi"}, ALL, "row 1", labelled=False).target is None
    assert to_example({"x": "hi", "label": "a"}, ALL, "row 1", labelled=False).target == "a"


def test_several_columns_make_a_vector():
    columns = TaskConfig(input=["a", "b", "c"])
    row = to_example({"c": "3.5", "b": np.float64(2), "a": True, "label": "x"}, columns, "row 1")
    assert row.inputs.dtype == np.float32
    assert row.inputs.tolist() == [1.0, 2.0, 3.5]
    assert to_example({"a": torch.tensor(1.0), "label": "x"}, TaskConfig(input=["a"]), "row 1").inputs.shape == (1,)


@pytest.mark.parametrize("bad", ["x", " ", [1], {}, 10**400, np.array([1.0])])
def test_a_vector_names_the_column_that_is_no_number(bad):
    with pytest.raises(DataError, match="row 1: column 'b' is not a number") as caught:
        to_example({"a": 1, "b": bad, "label": "x"}, TaskConfig(input=["a", "b"]), "row 1")
    assert caught.value.kind == "data.value"


def test_numbers_beyond_float32_are_left_to_screening():
    row = to_example({"a": 1e39, "b": "nan", "label": "x"}, TaskConfig(input=["a", "b"]), "row 1")
    assert np.isinf(row.inputs[0])
    assert np.isnan(row.inputs[1])
    assert np.isinf(to_inputs([1e300], "row 1")).all()
    assert np.isinf(to_inputs(np.array([1e300]), "row 1")).all()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (5, [5.0]),
        (True, [1.0]),
        ([1, 2], [1.0, 2.0]),
        ((1, 2.5), [1.0, 2.5]),
        ([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]),
        ([], []),
        (range(2), [0.0, 1.0]),
        (np.int8(3), [3.0]),
        (np.arange(2, dtype=">i2"), [0.0, 1.0]),
        (np.array([True]), [1.0]),
        (torch.tensor(2), [2.0]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        (torch.ones(1, requires_grad=True), [1.0]),
        (torch.tensor([True]), [1.0]),
        ([torch.tensor(1.0), torch.tensor(2.0)], [1.0, 2.0]),
        ([2**70, 1], [float(2**70), 1.0]),
        ([decimal.Decimal("0.5")], [0.5]),
    ],
)
def test_numbers_become_a_float32_array(value, wanted):
    array = to_inputs(value, "row 1")
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    assert array.tolist() == wanted


def test_an_array_is_not_the_callers():
    mine = np.zeros(2, dtype=np.float32)
    row = to_inputs(mine, "row 1")
    mine[0] = 1.0
    assert row.tolist() == [0.0, 0.0]


def test_a_tensor_is_not_the_callers():
    mine = torch.zeros(2)
    row = to_inputs(mine, "row 1")
    mine[0] = 1.0
    assert row.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, None],
        [[1], [2, 3]],
        ["1", "2"],
        [1, "a"],
        {"a": 1},
        {1, 2},
        b"bytes",
        1j,
        object(),
        datetime.date(2026, 1, 1),
        [datetime.date(2026, 1, 1)],
        torch.ones(1, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
        [torch.tensor(1.0, requires_grad=True)],
        [10**400],
        [[[0] * 2] * 2, [[0] * 2]],
    ],
)
def test_what_is_neither_text_nor_numbers_is_refused(value):
    with pytest.raises(DataError, match="row 1: the input is neither a text nor numbers") as caught:
        to_inputs(value, "row 1")
    assert caught.value.kind == "data.value"


def test_lists_nested_too_deep():
    value = [1.0]
    for _ in range(500):
        value = [value]
    with pytest.raises(DataError, match="row 1: the input is neither"):
        to_inputs(value, "row 1")


@pytest.mark.parametrize("value", [np.str_("yes"), Word.YES, "yes"])
def test_texts_become_plain_strings(value):
    assert type(to_inputs(value, "row 1")) is str
    assert to_inputs(value, "row 1") == "yes"
    assert type(example(label=value).target) is str
    assert type(example(key=value).id) is str
    assert example(key=value).id == "yes"


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), Colour.RED])
def test_integer_labels_become_plain_integers(value):
    assert type(example(label=value).target) is int
    assert example(label=value).target == 3


@pytest.mark.parametrize("value", [True, np.True_, torch.tensor(True)])
def test_a_truth_value_stays_one_for_screening_to_refuse(value):
    assert example(label=value).target is True


@pytest.mark.parametrize("value", [None, "", 1.5, [1], {"a": 1}])
def test_other_labels_are_left_to_screening(value):
    assert example(label=value).target == value


@pytest.mark.parametrize("column", ["key", "group", "at"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (np.int64(5), "5"),
        (torch.tensor(5), "5"),
        (np.array(5), "5"),
        (0, "0"),
        (2.5, "2.5"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_ids_slices_and_times_become_texts(column, value, text):
    row = example(**{column: value})
    assert {"key": row.id, "group": row.slice, "at": row.time}[column] == text


@pytest.mark.parametrize("column", ["key", "group", "at"])
def test_a_missing_value_of_a_table_is_missing(column):
    row = example(**{column: float("nan")})
    assert (row.id, row.slice, row.time) == (content_id("hi"), None, None)


@pytest.mark.parametrize("column", ["key", "group", "at"])
@pytest.mark.parametrize("value", [[1], {"a": 1}, b"x", np.array([1, 2]), torch.tensor([1, 2]), np.array([])])
def test_ids_slices_and_times_are_single_values(column, value):
    with pytest.raises(DataError, match=f"row 1: column '{column}' is not a single value"):
        example(**{column: value})


@pytest.mark.parametrize("column", ["key", "group", "at"])
def test_half_a_character_that_no_file_can_keep(column):
    with pytest.raises(DataError, match=f"row 1: column '{column}' holds half a character"):
        example(**{column: "a\ud800"})


@pytest.mark.parametrize(
    ("value", "weight"),
    [
        (0, 0.0),
        ("2.5", 2.5),
        (np.float32(0.5), 0.5),
        (torch.tensor(2), 2.0),
        (decimal.Decimal("0.25"), 0.25),
        (-1, -1.0),
    ],
)
def test_weights(value, weight):
    found = example(w=value).weight
    assert type(found) is float
    assert found == weight


def test_a_weight_that_is_not_finite_is_left_to_screening():
    assert np.isnan(example(w=float("nan")).weight)
    assert example(w="inf").weight == float("inf")


@pytest.mark.parametrize("value", ["heavy", [1], 1j, 10**400, np.array([1, 2]), torch.tensor([1, 2]), {}])
def test_a_weight_that_is_no_number(value):
    with pytest.raises(DataError, match="row 1: the weight is not a number"):
        example(w=value)


def test_excerpts_are_short():
    assert record_excerpt("a" * 1000) == "'" + "a" * 56 + "..."
    assert record_excerpt([1]) == "[1]"


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_cell_of_a_vector_is_left_to_screening(empty):
    row = to_example({"a": 1, "b": empty, "label": "x"}, TaskConfig(input=["a", "b"]), "row 1")
    assert row.inputs[0] == 1
    assert np.isnan(row.inputs[1])


def test_white_space_makes_no_other_label():
    assert example(label=" yes\n").target == "yes"
    assert example(label="  ").target == ""


@pytest.mark.parametrize(
    ("header", "remedy"),
    [
        ("x;label", "the file looks separated by semicolons; save it with commas"),
        ("x\tlabel", "the file looks separated by tabs; save it with commas"),
        (" X", "rename ' X', which differs in spaces or case"),
        ("y", "rename it, or name the right one"),
    ],
)
def test_the_remedy_of_a_missing_column(header, remedy):
    with pytest.raises(DataError) as caught:
        to_example({header: 1}, TaskConfig(input="x"), "day.csv:2")
    assert remedy in caught.value.remedy


def test_the_columns_of_a_table_that_are_read():
    names = ["more", "at", "w", "group", "key", "label", "x"]
    assert wanted_columns(names, ALL, "day") == ["x", "label", "key", "group", "w", "at"]
    assert wanted_columns(names, TaskConfig(input=["x", "w"], weight="w"), "day") == ["x", "w", "label"]
    assert wanted_columns(["at", "x"], ALL, "day", labelled=False) == ["x", "at"]


@pytest.mark.parametrize("missing", ["x", "label", *EMPTY])
def test_a_column_that_a_table_lacks(missing):
    names = [name for name in ("x", "label", *EMPTY) if name != missing]
    with pytest.raises(DataError, match=rf"day has no column '{missing}', only .*; rename it") as caught:
        wanted_columns(names, ALL, "day")
    assert caught.value.kind == "data.column"


def test_two_columns_of_one_name_in_a_table():
    with pytest.raises(DataError, match="day: two columns are called 'more'; rename one of them") as caught:
        wanted_columns(["x", "more", "label", "more"], TaskConfig(input="x"), "day")
    assert caught.value.kind == "data.column"


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (decimal.Decimal(3), 3),
        (decimal.Decimal("3.0"), decimal.Decimal("3.0")),
        (decimal.Decimal("3.5"), decimal.Decimal("3.5")),
    ],
)
def test_a_databases_whole_number_is_an_integer(value, label):
    found = example(label=value).target
    assert (found, type(found)) == (label, type(label))


def test_a_decimal_that_is_no_number_is_left_to_screening():
    assert example(label=decimal.Decimal("NaN")).target.is_nan()


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("1", (2, 4)),
        ("L", (2, 4)),
        ("F", (2, 4)),
        ("I;16", (2, 4)),
        ("LA", (2, 2, 4)),
        ("RGB", (3, 2, 4)),
        ("P", (3, 2, 4)),
        ("RGBA", (4, 2, 4)),
    ],
)
def test_pictures_have_their_channels_first(mode, shape):
    picture = pytest.importorskip("PIL.Image").new(mode, (4, 2))
    inputs = to_inputs(picture, "row 1")
    assert (inputs.shape, inputs.dtype) == (shape, np.dtype("float32"))


def test_a_pictures_colours_are_numbers_as_they_are():
    image = pytest.importorskip("PIL.Image")
    picture = image.new("RGB", (4, 2), (7, 8, 255))
    assert to_inputs(picture, "row 1")[:, 1, 3].tolist() == [7.0, 8.0, 255.0]
    palette = picture.convert("P", palette=image.Palette.ADAPTIVE)
    assert to_inputs(palette, "row 1")[:, 1, 3].tolist() == [7.0, 8.0, 255.0]


def test_a_picture_that_is_cut():
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file, "PNG")
    cut = image.open(io.BytesIO(file.getvalue()[:-2000]))
    with pytest.raises(DataError, match=r"row 1: the picture cannot be read: .*; mend or remove that row"):
        to_inputs(cut, "row 1")
