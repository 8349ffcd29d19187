"""One door for every source."""

from __future__ import annotations

import os

import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.stream.source import read

COLUMNS = TaskConfig(input="x")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": "one", "label": "a"}\n')
    (tmp_path / "b.csv").write_text("x,label\ntwo,b\n")
    (tmp_path / "c.NDJSON").write_text('{"x": "three", "label": "c"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "header.csv").write_text("x,label\n")
    (tmp_path / "notes.txt").write_text("hi")
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


def texts(source):
    return [row.inputs for row in read(source, COLUMNS)]


@pytest.mark.parametrize("form", [str, lambda path: path])
def test_a_file_by_its_ending(files, form):
    assert texts(form(files / "a.jsonl")) == ["one"]
    assert texts(form(files / "b.csv")) == ["two"]
    assert texts(form(files / "c.NDJSON")) == ["three"]


def test_several_files_in_order(files):
    assert texts([files / "b.csv", str(files / "a.jsonl"), files / "c.NDJSON"]) == ["two", "one", "three"]
    assert texts(path for path in [files / "a.jsonl", files / "b.csv"]) == ["one", "two"]


def test_objects_in_every_kind_of_iterable():
    rows = [{"x": "one", "label": "a"}, {"x": "two", "label": "b"}]
    for source in (rows, tuple(rows), iter(rows), (row for row in rows), dict(enumerate(rows)).values()):
        assert texts(source) == ["one", "two"]


def test_labels_may_be_absent_on_request(files):
    (files / "d.csv").write_text("x\nhi\n")
    for source in (files / "d.csv", [files / "d.csv"], [{"x": "hi"}]):
        assert [row.target for row in read(source, COLUMNS, labelled=False)] == [None]
        with pytest.raises(DataError, match="no column 'label'"):
            list(read(source, COLUMNS))


@pytest.mark.parametrize("name", ["empty.jsonl", "blank.jsonl", "header.csv"])
def test_a_file_without_rows(files, name):
    for source in (files / name, [files / "a.jsonl", files / name]):
        with pytest.raises(DataError, match=f"{name} holds no rows") as caught:
            texts(source)
        assert caught.value.kind == "data.empty"


@pytest.mark.parametrize("source", [[], (), iter([]), {}.values()])
def test_a_source_without_rows(source):
    with pytest.raises(DataError, match="the source holds no rows") as caught:
        texts(source)
    assert caught.value.kind == "data.empty"


@pytest.mark.parametrize("name", ["missing.jsonl", "missing/a.csv", "a.jsonl/b.csv", "a\0.csv"])
def test_a_file_that_is_not_there(files, name):
    with pytest.raises(DataError, match="there is no file") as caught:
        texts(files / name)
    assert caught.value.kind == "data.missing"


@pytest.mark.parametrize("name", [".", "folder.csv"])
def test_a_folder(files, name):
    with pytest.raises(DataError, match="is a folder; name the files in it") as caught:
        texts(files / name)
    assert caught.value.kind == "data.missing"


@pytest.mark.parametrize("name", ["notes.txt", "notes", "a.jsonl.gz", ".csv"])
def test_an_ending_that_is_not_read(files, name):
    with pytest.raises(DataError, match=r"are not read; send one of \.jsonl, \.ndjson, \.csv"):
        texts(files / name)


def test_a_name_that_is_too_long(files):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        texts(files / ("a" * 5000 + ".csv"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_without_permission(files):
    (files / "a.jsonl").chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        texts(files / "a.jsonl")


def test_a_single_mapping_is_no_source():
    with pytest.raises(DataError, match="a single mapping is not a source; send a list of rows"):
        texts({"x": "one", "label": "a"})


def test_paths_and_rows_do_not_mix(files):
    with pytest.raises(DataError, match="row 1 is not a mapping"):
        texts([files / "a.jsonl", {"x": "one", "label": "a"}])


def test_nothing_is_read_before_the_first_row_is_asked_for(files):
    rows = read(files / "missing.jsonl", COLUMNS)
    with pytest.raises(DataError):
        next(rows)
