"""Parquet: bounded memory, only the columns that are wanted, and no damage that goes unnamed."""

from __future__ import annotations

import random
import sys
import tracemalloc

import numpy as np
import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.stream import parquet as stream_parquet
from dripstone.stream.parquet import read_parquet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXT = TaskConfig(input="x")
ALL = TaskConfig(input="x", id="key", slice="group", weight="w", time="at")


@pytest.fixture
def write(tmp_path):
    def write(table, **options):
        path = tmp_path / "day.parquet"
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
        return path

    return write


def test_every_column_finds_its_place(write):
    table = {"x": ["hi"], "label": ["a"], "key": [7], "group": ["old"], "w": [2], "at": pa.array([0], pa.date32())}
    row = next(read_parquet(write({**table, "more": [b"?"]}), ALL))
    assert (row.inputs, row.target, row.id, row.slice, row.weight) == ("hi", "a", "7", "old", 2.0)
    assert (row.time, row.origin) == ("1970-01-01", "day.parquet:1")


def test_lists_are_arrays_and_nulls_are_kept(write):
    table = {
        "x": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.float32()))),
        "label": ["a", None],
    }
    first, second = read_parquet(write(table), TEXT)
    assert first.inputs.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (second.inputs.tolist(), second.target) == ([[5.0, 6.0], [7.0, 8.0]], None)


def test_rows_are_counted_over_row_groups(write):
    path = write({"x": [str(number) for number in range(25)], "label": ["a"] * 25}, row_group_size=10)
    found = list(read_parquet(path, TEXT))
    assert [row.inputs for row in found] == [str(number) for number in range(25)]
    assert found[-1].origin == "day.parquet:25"


def test_columns_whose_names_have_dots(write):
    table = {"x": ["a"], "x.y": ["b"], "label": [{"y": 1}], "label.y": [2]}
    path = write(table)
    assert next(read_parquet(path, TaskConfig(input="x.y", target="label.y"))).inputs == "b"
    assert next(read_parquet(path, TaskConfig(input="x", target="label.y"))).target == 2


def test_a_column_that_is_not_wanted_is_not_read(write):
    path = write({"more": ["?" * 40] * 9, "x": ["a"] * 9, "label": ["b"] * 9}, use_dictionary=False, compression="gzip")
    column = pq.read_metadata(path).row_group(0).column(0)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    data[column.data_page_offset : end] = bytes(end - column.data_page_offset)
    path.write_bytes(data)
    assert len(list(read_parquet(path, TEXT))) == 9
    with pytest.raises(DataError, match=r"day\.parquet as Parquet cannot be read: .*; write the file again, whole"):
        list(read_parquet(path, TaskConfig(input="more")))


def test_memory_is_bounded_in_a_single_row_group(write):
    numbers = np.random.default_rng(0).normal(size=(4000, 1024)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 1024)
    path = write({"x": column, "label": ["a"] * 4000}, compression="none", use_dictionary=False)
    assert pq.read_metadata(path).num_row_groups == 1
    size = path.stat().st_size
    del column
    before, most, count = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for row in read_parquet(path, TEXT):
        most = max(most, pa.total_allocated_bytes() - before)
        assert row.inputs[0] == numbers[count, 0]
        count += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4000
    assert size > 16_000_000
    assert most < size / 2
    assert peak < size / 4


def test_large_rows_make_small_batches(write, monkeypatch):
    path = write({"x": ["a" * 1000] * 100, "label": ["b"] * 100}, compression="none", use_dictionary=False)
    monkeypatch.setattr(stream_parquet, "batch_examples", lambda batches, *_, **__: (len(batch) for batch in batches))
    monkeypatch.setattr(stream_parquet, "BATCH_BYTES", 10_000)
    assert set(read_parquet(path, TEXT)) <= set(range(1, 11))
    monkeypatch.setattr(stream_parquet, "BATCH_BYTES", 1)
    assert set(read_parquet(path, TEXT)) == {1}


@pytest.mark.parametrize("size", [None, 10])
def test_no_rows(write, size):
    table = pa.table({"x": pa.array([], pa.string()), "label": pa.array([], pa.string())})
    assert list(read_parquet(write(table, row_group_size=size), TEXT)) == []


@pytest.mark.parametrize("column", ["x", "label", "key", "group", "w", "at"])
def test_a_missing_column_is_named_before_any_row(write, column):
    table = {name: pa.array([], pa.string()) for name in ("x", "label", "key", "group", "w", "at") if name != column}
    with pytest.raises(DataError, match=rf"day\.parquet has no column '{column}', only '.*'; rename it") as caught:
        list(read_parquet(write(table), ALL))
    assert caught.value.kind == "data.column"


def test_without_labels_only_the_input_has_to_be_there(write):
    row = next(read_parquet(write({"x": ["hi"], "w": [2.0]}), ALL, labelled=False))
    assert (row.inputs, row.target, row.weight, row.slice) == ("hi", None, 2.0, None)


def test_two_columns_of_one_name(write):
    path = write(pa.table([pa.array(["a"])] * 3, names=["x", "label", "x"]))
    with pytest.raises(DataError, match=r"day\.parquet: two columns are called 'x'; rename one of them"):
        next(read_parquet(path, TEXT))


def test_a_bad_value_names_its_row(write):
    path = write({"x": ["a", "b", "c"], "label": ["a"] * 3, "w": ["1", "2", "heavy"]}, row_group_size=2)
    found = read_parquet(path, TaskConfig(input="x", weight="w"))
    assert [next(found).weight for _ in range(2)] == [1.0, 2.0]
    with pytest.raises(DataError, match=r"day\.parquet:3: the weight is not a number: 'heavy'"):
        next(found)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"hello", b"PAR1" + b"\xff" * 100 + b"PAR1", b"x,label\nhi,a\n" * 9])
def test_what_is_no_parquet(tmp_path, data):
    path = tmp_path / "day.parquet"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"day\.parquet as Parquet cannot be read: .*; write the file") as caught:
        list(read_parquet(path, TEXT))
    assert caught.value.kind == "data.file"


def test_damage_anywhere_is_an_error_of_the_data_or_goes_unnoticed(write):
    table = {
        "x": [[1.0, 2.0]] * 50,
        "label": pa.array(["ä", "b"] * 25).dictionary_encode(),
        "key": list(range(50)),
        "group": ["grün", None] * 25,
        "w": [1.0] * 50,
        "at": pa.array([0] * 50, pa.timestamp("ns", "Europe/Berlin")),
    }
    path = write(table, row_group_size=20)
    whole = path.read_bytes()
    draw, failed = random.Random(0), 0
    for number in range(300):
        data = bytearray(whole[: draw.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(draw.randrange(1, 5) if number % 3 and data else 0):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            assert len(list(read_parquet(path, ALL))) <= 50
        except DataError as error:
            assert "day.parquet" in str(error)  # noqa: PT017 - some damage cannot be seen
            failed += 1
    assert failed > 200


def test_a_file_that_cannot_be_opened_is_an_error_of_the_operating_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(read_parquet(tmp_path / "day.parquet", TEXT))


def test_a_missing_package_is_named_with_its_extra(write, monkeypatch):
    path = write({"x": ["hi"], "label": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"need the package 'pyarrow'; pip install 'dripstone\[parquet\]'"):
        next(read_parquet(path, TEXT))
