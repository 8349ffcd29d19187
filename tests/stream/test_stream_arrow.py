"""Arrow: files with a footer, streams, Feather, and objects in memory."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.stream.arrow import is_arrow, read_arrow, read_arrow_object

pa = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
arrow_dataset = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")

COLUMNS = TaskConfig(input="x")
TABLE = pa.table(
    {
        "more": [b"?"] * 5,
        "label": pa.array(["a", "b", "a", "b", None]).dictionary_encode(),
        "x": [[float(number), 0.0] for number in range(5)],
    }
)


def write_file(table, path, rows=2):
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_stream(table, path, rows=2):
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_compressed(table, path):
    feather.write_feather(table, str(path), compression="zstd")


def write_plain(table, path):
    feather.write_feather(table, str(path), compression="uncompressed")


FORMS = [write_file, write_stream, write_compressed, write_plain]


def seen(rows):
    return [(row.inputs.tolist(), row.target) for row in rows]


WANTED = [([float(number), 0.0], label) for number, label in enumerate(["a", "b", "a", "b", None])]


@pytest.mark.parametrize("write", FORMS)
def test_every_form_of_a_file(tmp_path, write):
    path = tmp_path / "day.arrow"
    write(TABLE, path)
    rows = list(read_arrow(path, COLUMNS))
    assert seen(rows) == WANTED
    assert [row.origin for row in rows] == [f"day.arrow:{number}" for number in range(1, 6)]


@pytest.mark.parametrize("write", [write_file, write_stream])
def test_batches_are_read_one_by_one_and_only_wanted_columns(tmp_path, write):
    rows, width = 100, 1000
    numbers = np.random.default_rng(0).normal(size=rows * width)
    column = pa.FixedSizeListArray.from_arrays(pa.array(numbers), width)
    path = tmp_path / "day.arrow"
    write(pa.table({"x": column, "label": ["a"] * rows, "more": column}), path, rows=10)
    before, most = pa.total_allocated_bytes(), 0
    for row in read_arrow(path, COLUMNS):
        most = max(most, pa.total_allocated_bytes() - before)
        assert row.inputs.shape == (width,)
    assert most < 3 * 10 * width * 8 < column.nbytes / 3


@pytest.mark.parametrize("write", FORMS)
def test_no_rows(tmp_path, write):
    write(TABLE.slice(0, 0), tmp_path / "day.arrow")
    assert list(read_arrow(tmp_path / "day.arrow", COLUMNS)) == []


@pytest.mark.parametrize("write", FORMS)
def test_a_missing_column_is_named_before_any_row(tmp_path, write):
    write(TABLE.slice(0, 0).drop_columns("x"), tmp_path / "day.arrow")
    with pytest.raises(DataError, match=r"day\.arrow has no column 'x', only 'more', 'label'; rename it"):
        list(read_arrow(tmp_path / "day.arrow", COLUMNS))


@pytest.mark.parametrize("write", FORMS)
def test_without_labels_only_the_input_has_to_be_there(tmp_path, write):
    write(TABLE.select(["x"]), tmp_path / "day.arrow")
    assert {row.target for row in read_arrow(tmp_path / "day.arrow", COLUMNS, labelled=False)} == {None}


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"hello", b"ARROW1\0\0" + b"\xff" * 100, b"x,label\nhi,a\n" * 9])
def test_what_is_no_arrow(tmp_path, data):
    path = tmp_path / "day.arrow"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"day\.arrow as Arrow cannot be read: .*; write the file again") as caught:
        list(read_arrow(path, COLUMNS))
    assert caught.value.kind == "data.file"


def test_the_first_version_of_feather(tmp_path):
    (tmp_path / "day.feather").write_bytes(b"FEA1" + b"\0" * 100 + b"FEA1")
    with pytest.raises(DataError, match=r"day\.feather is Feather of version 1; write it as version 2"):
        next(read_arrow(tmp_path / "day.feather", COLUMNS))


@pytest.mark.parametrize("write", FORMS)
def test_damage_anywhere_is_an_error_of_the_data_or_goes_unnoticed(tmp_path, write):
    path = tmp_path / "day.arrow"
    write(TABLE, path)
    whole = path.read_bytes()
    draw, failed = random.Random(0), 0
    for number in range(200):
        data = bytearray(whole[: draw.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 5) if number % 3 and data else 0):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            list(read_arrow(path, COLUMNS))
        except DataError as error:
            assert "day.arrow" in str(error)  # noqa: PT017 - some damage cannot be seen
            failed += 1
    assert failed > 80


class Stream:
    """Another library's table: nothing is known of it but Arrow's C stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


OBJECTS = {
    "table": lambda table: table,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "reader": lambda table: table.to_reader(max_chunksize=2),
    "dataset": arrow_dataset.dataset,
    "stream": Stream,
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_in_memory(kind):
    source = OBJECTS[kind](TABLE)
    assert is_arrow(source)
    rows = list(read_arrow_object(source, COLUMNS))
    assert seen(rows) == WANTED
    assert rows[-1].origin == "row 5"


@pytest.mark.parametrize("kind", ["table", "reader", "dataset", "stream"])
def test_objects_without_rows(kind):
    assert list(read_arrow_object(OBJECTS[kind](TABLE.slice(0, 0)), COLUMNS)) == []


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_missing_column_of_an_object(kind):
    with pytest.raises(DataError, match="the Arrow source has no column 'y', only 'more', 'label', 'x'; rename it"):
        next(read_arrow_object(OBJECTS[kind](TABLE), TaskConfig(input="y")))


def test_a_data_set_of_files(tmp_path):
    for number in range(3):
        pq.write_table(TABLE.slice(number, 1), tmp_path / f"{number}.parquet")
    assert seen(read_arrow_object(arrow_dataset.dataset(tmp_path), COLUMNS)) == WANTED[:3]


def test_two_columns_of_one_name():
    table = pa.table([pa.array(["a"])] * 3, names=["x", "label", "x"])
    with pytest.raises(DataError, match="the Arrow source: two columns are called 'x'; rename one of them"):
        next(read_arrow_object(table, COLUMNS))


def test_a_stream_that_is_no_table():
    with pytest.raises(
        DataError, match=r"the Arrow source cannot be read: .*; send a table with a name for each column"
    ):
        next(read_arrow_object(pa.chunked_array([[1, 2]]), COLUMNS))


def test_a_reader_is_drawn_as_it_is_needed():
    drawn = []

    def batches():
        for batch in TABLE.to_batches(max_chunksize=2):
            drawn.append(len(batch))
            yield batch

    rows = read_arrow_object(pa.RecordBatchReader.from_batches(TABLE.schema, batches()), COLUMNS)
    assert drawn == []
    next(rows)
    assert drawn == [2]


@pytest.mark.parametrize("source", [[], {}, "a.arrow", 3, None, np.zeros(2), pa.schema([])])
def test_what_is_not_arrows(source):
    assert not is_arrow(source)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    write_file(TABLE, tmp_path / "day.arrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for rows in (read_arrow(tmp_path / "day.arrow", COLUMNS), read_arrow_object(TABLE, COLUMNS)):
        with pytest.raises(UsageError, match=r"need the package 'pyarrow'; pip install 'dripstone\[parquet\]'"):
            next(rows)
