"""Every type of Arrow that a column may have becomes what an example takes, or an error that names the row."""

from __future__ import annotations

import datetime
import decimal
import sys

import numpy as np
import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.curate.screen import screen
from dripstone.stream.record_batches import ROWS, arrow_errors, batch_examples, import_pyarrow

pa = pytest.importorskip("pyarrow")

COLUMNS = TaskConfig(input="x")


def rows(x, label=None, columns=COLUMNS, **more):
    count = len(x)
    batch = pa.record_batch({"x": x, "label": label or ["a"] * count, **more})
    return list(batch_examples([batch], batch.schema.names, columns, "day:"))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float16()),
        pa.list_(pa.int64()),
        pa.list_(pa.uint8()),
        pa.list_(pa.float64(), 2),
        pa.list_(pa.decimal128(5, 1)),
        pa.large_list(pa.float64()),
        pa.list_view(pa.int8()),
        pa.large_list_view(pa.int8()),
    ],
    ids=str,
)
def test_lists_of_numbers_become_arrays(kind):
    values = [[1, 2], [3, 4], [5, 6]]
    if pa.types.is_decimal(kind.value_type):
        values = [[decimal.Decimal(number) for number in row] for row in values]
    found = rows(pa.array(values, kind))
    assert [row.inputs.tolist() for row in found] == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert {row.inputs.dtype for row in found} == {np.dtype("float32")}
    part = pa.array(values, kind).slice(1, 1)
    assert [row.inputs.tolist() for row in rows(part)] == [[3.0, 4.0]]


@pytest.mark.parametrize(
    "inner", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.int8())], ids=str
)
def test_lists_of_lists_become_arrays_of_their_shape(inner):
    found = rows(pa.array([[[1, 2], [3, 4], [5, 6]]], pa.list_(inner)))
    assert found[0].inputs.shape == (3, 2)
    assert found[0].inputs.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_truth_values_in_a_list_are_numbers():
    assert rows(pa.array([[True, False]]))[0].inputs.tolist() == [1.0, 0.0]


def test_tensors_of_a_fixed_shape():
    numbers = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(numbers)
    assert [row.inputs.tolist() for row in rows(tensors)] == numbers.tolist()
    storage = pa.array([[1, 2, 3, 4], None], tensors.type.storage_type)
    first, second = rows(pa.ExtensionArray.from_storage(tensors.type, storage))
    assert first.inputs.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.isnan(second.inputs).all()


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.run_end_encoded(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_texts_and_categories(kind):
    texts = pa.array(["hi", "grüße", "hi"]).cast(pa.string())
    column = pa.compute.run_end_encode(texts) if pa.types.is_run_end_encoded(kind) else texts.cast(kind)
    assert [(row.inputs, row.target) for row in rows(column, column)] == [(one, one) for one in ("hi", "grüße", "hi")]


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        (pa.array([7], pa.int64()), 7),
        (pa.array([7], pa.uint8()), 7),
        (pa.array([7]).dictionary_encode(), 7),
        (pa.array([decimal.Decimal(7)], pa.decimal128(38, 0)), 7),
        (pa.array([True]), True),
        (pa.array([1.5], pa.float16()), 1.5),
        (pa.array([None], pa.int64()), None),
        (pa.array([None], pa.string()), None),
        (pa.array([None], pa.null()), None),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_labels(label, wanted):
    target = rows(pa.array(["hi"]), label)[0].target
    assert (target, type(target)) == (wanted, type(wanted))


def test_what_is_no_label_is_screened_out_alone():
    found = rows(pa.array(["a", "b", "c"]), pa.array([True, None, None], pa.bool_()))
    reasons = screen(found, kind="text").reasons()
    assert reasons == {"the label is of type bool, neither a string nor an integer": 1, "the label is missing": 2}


def test_several_columns_make_a_vector_and_a_null_is_not_a_number():
    columns = TaskConfig(input=["x", "y", "z"])
    more = {"y": pa.array([2, 3], pa.uint8()), "z": pa.array([decimal.Decimal("0.5"), decimal.Decimal(1)])}
    first, second = rows(pa.array([1.0, None]), columns=columns, **more)
    assert first.inputs.tolist() == [1.0, 2.0, 0.5]
    assert np.isnan(second.inputs[0])
    assert second.inputs[1:].tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    ("column", "kind", "reason"),
    [
        (pa.array(["hi", None]), "text", "the text is empty"),
        (pa.array(["hi", None]).dictionary_encode(), "text", "the text is empty"),
        (pa.DictionaryArray.from_arrays([0, 1], pa.array(["hi", None])), "text", "the text is empty"),
        (pa.array([[1.0], None]), "array", "the input holds NaN or infinity"),
        (pa.array([1, None]), "array", "the input holds NaN or infinity"),
        (pa.array([[1, 2], [None, 2]]), "array", "the input holds NaN or infinity"),
    ],
)
def test_a_null_input_is_screened_out_alone(column, kind, reason):
    screened = screen(rows(column), kind=kind)
    assert [row.origin for row in screened.kept] == ["day:1"]
    assert screened.reasons() == {reason: 1}


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("s")), "2026-01-02 03:04:05"),
        (pa.array([1], pa.timestamp("ms")), "1970-01-01 00:00:00.001000"),
        (pa.array([1_234], pa.timestamp("ns")), "1970-01-01 00:00:00.000001"),
        (pa.array([0], pa.timestamp("ns", "Europe/Berlin")), "1970-01-01 00:00:00+00:00"),
        (pa.array([0], pa.timestamp("s", "+02:00")), "1970-01-01 00:00:00+00:00"),
        (pa.array([0], pa.timestamp("us", "Nowhere/Land")), "1970-01-01 00:00:00+00:00"),
        (pa.array([datetime.date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([61_001], pa.time64("ns")), "00:00:00.000061"),
        (pa.array([61_000_001], pa.duration("ns")), "0:00:00.061000"),
        (pa.array([5], pa.int64()), "5"),
        (pa.array(["today"]), "today"),
        (pa.array([None], pa.timestamp("ns", "UTC")), None),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_times(column, text):
    assert rows(pa.array(["hi"]), columns=TaskConfig(input="x", time="t"), t=column)[0].time == text


def test_ids_slices_and_weights():
    columns = TaskConfig(input="x", id="k", slice="s", weight="w")
    more = {"k": pa.array([1, None]), "s": pa.array(["old", None]), "w": pa.array([decimal.Decimal("0.5"), None])}
    first, second = rows(pa.array(["a", "b"]), columns=columns, **more)
    assert (first.id, first.slice, first.weight) == ("1", "old", 0.5)
    assert (len(second.id), second.slice, second.weight) == (32, None, 1.0)


def test_universal_ids():
    storage = pa.array([b"0" * 16], pa.binary(16))
    keys = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    found = rows(pa.array(["a"]), columns=TaskConfig(input="x", id="k"), k=keys)
    assert found[0].id == "30303030-3030-3030-3030-303030303030"


class Tagged(pa.ExtensionType):
    """A type that somebody registered, with what would run if it were asked for values."""

    def __init__(self):
        super().__init__(pa.list_(pa.int8()), "dripstone.test.tagged")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()

    def __arrow_ext_scalar_class__(self):
        raise AssertionError("the values of an extension type are its storage")


def test_other_extension_types_are_read_as_what_they_are_stored_as():
    column = pa.ExtensionArray.from_storage(Tagged(), pa.array([[1, 2]], pa.list_(pa.int8())))
    assert rows(column)[0].inputs.tolist() == [1.0, 2.0]
    assert rows(pa.array([True]).cast(pa.int8()).cast(pa.bool8()))[0].inputs.tolist() == [1.0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"], ["b"]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
        pa.array([b"a", b"b"]),
        pa.array([[{"a": 1}], []]),
        pa.array([[[1], [2, 3]], [[1]]]),
        pa.array([[[1], None], [[1]]]),
        pa.array([[True, None], [True]]),
        pa.array([datetime.date(2026, 1, 1)] * 2),
    ],
    ids=lambda column: str(column.type),
)
def test_inputs_that_are_neither_text_nor_numbers(column):
    with pytest.raises(
        DataError, match=r"day:1: the input is neither a text nor numbers: .*; mend or remove"
    ) as caught:
        rows(column)
    assert caught.value.kind == "data.value"


def test_a_list_where_a_single_value_belongs():
    with pytest.raises(DataError, match="day:1: column 's' is not a single value"):
        rows(pa.array(["a"]), columns=TaskConfig(input="x", slice="s"), s=pa.array([[1]]))


def test_a_time_out_of_range_names_its_row():
    times = pa.array([0, 0, 2**62], pa.timestamp("s"))
    with pytest.raises(DataError, match=r"day:3: column 't' holds what Python has no value for: .*too large"):
        rows(pa.array(["a"] * 3), columns=TaskConfig(input="x", time="t"), t=times)


def test_text_that_is_not_utf_8():
    offsets = pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes())
    column = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"a\xff"))
    with pytest.raises(DataError, match=r"day:1 and the rows after it: .*Invalid UTF8 sequence at string index 1"):
        rows(column)


def test_offsets_that_lie_are_found_before_memory_is_read():
    offsets = pa.py_buffer(np.array([0, 2**30, 1], np.int32).tobytes())
    column = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"a"))
    with pytest.raises(DataError, match=r"day:1 and the rows after it: .*; mend or remove that row"):
        rows(column)


def test_rows_are_counted_over_batches_and_parts():
    batch = pa.record_batch({"x": ["a"] * (ROWS + 1), "label": ["b"] * (ROWS + 1)})
    found = list(batch_examples([batch, batch], ["x", "label"], COLUMNS, "row "))
    assert [row.origin for row in found] == [f"row {number}" for number in range(1, 2 * ROWS + 3)]


def test_batches_are_drawn_as_they_are_needed():
    drawn = []

    def batches():
        for number in range(3):
            drawn.append(number)
            yield pa.record_batch({"x": ["a", "b"], "label": [1, 2]})

    found = batch_examples(batches(), ["x", "label"], COLUMNS, "row ")
    assert drawn == []
    assert [next(found).origin for _ in range(2)] == ["row 1", "row 2"]
    assert drawn == [0]


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"need the package 'pyarrow'; pip install 'dripstone\[parquet\]'"):
        import_pyarrow()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pa.ArrowInvalid("bad.\nmore"), "day cannot be read: bad; send it again"),
        (OSError("corrupt page"), "day cannot be read: corrupt page; send it again"),
        (OSError(22, "Invalid argument"), "day cannot be read: [Errno 22] Invalid argument; send it again"),
        (MemoryError(), "day cannot be read: MemoryError; send it again"),
    ],
)
def test_errors_of_pyarrow_are_errors_of_the_data(error, words):
    with pytest.raises(DataError) as caught, arrow_errors("day", "send it again"):
        raise error
    assert str(caught.value) == words
    assert caught.value.kind == "data.file"


def test_errors_of_the_operating_system_stay():
    with pytest.raises(PermissionError), arrow_errors("day", "send it again"):
        raise PermissionError(13, "no")
