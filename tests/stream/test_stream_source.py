"""One door for every source."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import pytest
import torch

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
    row = {"x": "one", "label": "a"}
    with pytest.raises(DataError, match=r"item 2 is not a path, as those before it are: \{'x': .*; send paths alone"):
        texts([files / "a.jsonl", row])
    with pytest.raises(DataError, match=r"row 2 is not a mapping of columns: .*Path.*; send rows as"):
        texts([row, files / "a.jsonl"])


def test_rows_are_drawn_as_they_are_asked_for():
    drawn = []

    def endless():
        while True:
            drawn.append(1)
            yield {"x": "one", "label": "a"}

    rows = read(endless(), COLUMNS)
    assert len(drawn) == 0
    for count in range(1, 4):
        next(rows)
        assert len(drawn) == count


def test_paths_are_drawn_as_they_are_asked_for(files):
    def paths():
        yield files / "a.jsonl"
        yield files / "missing.jsonl"

    rows = read(paths(), COLUMNS)
    assert next(rows).inputs == "one"
    with pytest.raises(DataError, match="there is no file"):
        next(rows)


def test_what_is_drawn_is_let_go():
    class Row(dict):
        pass

    made = []

    def stream():
        for _ in range(100):
            row = Row(x="one", label="a")
            made.append(weakref.ref(row))
            yield row

    most = 0
    for _ in read(stream(), COLUMNS):
        most = max(most, sum(row() is not None for row in made))
    assert most <= 3


@pytest.mark.parametrize("ending", [".parquet", ".PARQUET", ".arrow", ".feather"])
def test_tables_in_files(files, ending):
    table = pytest.importorskip("pyarrow").table({"x": ["one", "two"], "label": ["a", None]})
    path = files / f"day{ending}"
    if ending.lower() == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        pytest.importorskip("pyarrow.feather").write_feather(table, str(path))
    assert texts(path) == ["one", "two"]
    assert texts([path, files / "b.csv", path]) == ["one", "two", "two", "one", "two"]
    empty = table.slice(0, 0)
    if ending.lower() == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(empty, path)
        with pytest.raises(DataError, match=f"day{ending} holds no rows"):
            texts(path)


def test_a_file_of_another_kind_under_this_name(files):
    pytest.importorskip("pyarrow")
    for ending in (".parquet", ".arrow", ".feather"):
        path = files / f"notes{ending}"
        path.write_text("hi")
        with pytest.raises(DataError, match=rf"notes{ending} as .* cannot be read: .*; write the file again, whole"):
            texts(path)


@pytest.mark.parametrize("library", ["pandas", "polars", "narwhals", "pyarrow", "datasets"])
@pytest.mark.parametrize("count", [0, 2])
def test_tables_in_memory(library, count):
    module = pytest.importorskip(library)
    data = {"x": ["one", "two"][:count], "label": [7, 8][:count]}
    source = {
        "pandas": lambda: module.DataFrame(data),
        "polars": lambda: module.DataFrame(data, schema={"x": str, "label": int}),
        "narwhals": lambda: module.from_native(pytest.importorskip("pandas").DataFrame(data)),
        "pyarrow": lambda: module.table(data),
        "datasets": lambda: module.Dataset.from_dict(data),
    }[library]()
    if not count:
        with pytest.raises(DataError, match="the source holds no rows"):
            texts(source)
        return
    assert [(row.inputs, row.target, row.origin) for row in read(source, COLUMNS)] == [
        ("one", 7, "row 1"),
        ("two", 8, "row 2"),
    ]


def test_names_of_classes_reach_through_the_door():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"x": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    source = datasets.Dataset.from_dict({"x": ["one"], "label": [1]}, features=features)
    assert [row.target for row in read(source, COLUMNS)] == ["yes"]
    with pytest.raises(DataError, match="a DatasetDict is not a source; send one of its splits"):
        texts(datasets.DatasetDict(train=source))


def test_data_sets_of_torch():
    pairs = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.tensor([1, 2]))
    assert [row.target for row in read(pairs, TaskConfig())] == [1, 2]
    with pytest.raises(DataError, match=r"a DataLoader is not a source; send loader\.dataset: rows, not batches"):
        texts(torch.utils.data.DataLoader(pairs))


@pytest.mark.parametrize("source", [3, None, 1.5, object(), len, texts, COLUMNS])
def test_what_is_no_source(source):
    with pytest.raises(DataError, match=r", of type .*, is not a source; send a path, rows, a data frame") as caught:
        texts(source)
    assert caught.value.kind == "data.row"


@pytest.mark.parametrize("source", [b"a.csv", [1, 2], {1, 2}, [["hi", "a"]], torch.zeros(2, 2), [("hi", "a")]])
def test_what_holds_no_rows_of_columns(source):
    with pytest.raises(DataError, match="row 1 is not a mapping of columns"):
        texts(source)


def test_no_library_is_imported_for_a_source_that_does_not_need_it(files):
    program = """if True:
        import sys
        from dripstone.core.config import TaskConfig
        from dripstone.stream.source import read
        columns = TaskConfig(input="x")
        assert len([*read(sys.argv[1], columns), *read([{"x": [1], "label": 2}], columns)]) == 2
        print(sorted({"pyarrow", "narwhals", "pandas", "polars", "datasets", "torch", "PIL"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", program, files / "b.csv"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_nothing_is_read_before_the_first_row_is_asked_for(files):
    rows = read(files / "missing.jsonl", COLUMNS)
    with pytest.raises(DataError):
        next(rows)
