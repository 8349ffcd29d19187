"""CSV: every bad line is named by file and number."""

from __future__ import annotations

import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.stream import csv as stream_csv
from dripstone.stream.csv import read_csv

TEXT = TaskConfig(input="x")


@pytest.fixture
def read(tmp_path):
    def read(data, columns=TEXT, **options):
        path = tmp_path / "day.csv"
        path.write_bytes(data)
        return list(read_csv(path, columns, **options))

    return read


def test_rows_with_their_line_numbers(read):
    rows = read(b"x,label\nhi,a\n\nbye,3\n")
    assert [(row.inputs, row.target, row.origin) for row in rows] == [
        ("hi", "a", "day.csv:2"),
        ("bye", "3", "day.csv:4"),
    ]


def test_quotes_commas_and_line_ends_inside_a_field(read):
    rows = read(b'x,label\r\n"a, ""b""\r\nc",y\r\nd,z\r\n')
    assert rows[0].inputs == 'a, "b"\r\nc'
    assert [row.origin for row in rows] == ["day.csv:3", "day.csv:4"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_byte_order_mark(read, end, mark):
    assert [row.inputs for row in read(mark + end.join([b"x,label", b"hi,a", b"bye,b"]))] == ["hi", "bye"]


def test_columns_in_any_order_and_several_as_a_vector(read):
    rows = read(b"label,b,a,more\ny,2,1.5,?\n", TaskConfig(input=["a", "b"]))
    assert rows[0].inputs.tolist() == [1.5, 2.0]
    assert rows[0].target == "y"


def test_one_column_in_a_list_is_a_number_and_alone_a_text(read):
    data = b"x,label\n1.5,y\n"
    assert read(data, TaskConfig(input=["x"]))[0].inputs.tolist() == [1.5]
    assert read(data)[0].inputs == "1.5"


def test_optional_columns_and_empty_fields(read):
    columns = TaskConfig(input="x", id="key", slice="group", weight="w", time="at")
    full, empty = read(b"x,label,key,group,w,at\nhi,a,7,old,2.5,now\nho,,,,,\n", columns)
    assert (full.id, full.slice, full.weight, full.time) == ("7", "old", 2.5, "now")
    assert (empty.target, empty.slice, empty.weight, empty.time) == ("", None, 1.0, None)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"x,label\n", b"x,label"])
def test_no_rows(read, data):
    assert read(data) == []


def test_blank_lines_before_the_header(read):
    assert read(b"\n\nx,label\nhi,a\n")[0].origin == "day.csv:4"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x,label\nhi,a\nbye\n", "day.csv:3: 1 fields under a header of 2"),
        (b"x,label\nhi,a,\n", "day.csv:2: 3 fields under a header of 2"),
        (b'x,label\nhi,a\n"bye,b\nho,c\n', "day.csv:4: not CSV: unexpected end of data"),
        (b'x,label\nhi,a\n"bye"s,b\nho,c\n', "day.csv:3: not CSV: ',' expected after '\"'"),
        (b"x,label\nhi,a\n\xff,b\n", "day.csv:3: not UTF-8"),
        (b"x,la\xffbel\nhi,a\n", "day.csv:1: not UTF-8"),
        ("x,label\nhi,a\n".encode("utf-16"), "day.csv:1: not UTF-8"),
        (b"x,label\nhi,a\n" + b"a" * 200_000 + b",b\n", "day.csv:3: not CSV: field larger than field limit"),
        (b"x,x,label\nhi,ho,a\n", "day.csv:1: two columns are called 'x'"),
        (b"x;label\nhi;a\n", "day.csv:2 has no column 'x', only 'x;label'; the file looks separated by semicolons"),
        (
            b"x;label\nhi, you;a\n",
            "header of 1, 'x;label'; the file looks separated by semicolons; save it with commas",
        ),
        (b"x\tlabel\nhi, you\ta\n", "the file looks separated by tabs; save it with commas"),
        (b" x,label\nhi,a\n", "day.csv:2 has no column 'x', only ' x', 'label'; rename ' x', which differs in spaces"),
        (b"x,label,w\nhi,a,heavy\n", "day.csv:2: the weight is not a number: 'heavy'"),
    ],
)
def test_bad_files_are_named_with_the_line(read, data, words):
    with pytest.raises(DataError) as caught:
        read(data, TaskConfig(input="x", weight="w" if b"w" in data else None))
    assert words in str(caught.value)


def test_a_bad_byte_is_named_where_it_is_not_where_the_buffer_began(tmp_path):
    path = tmp_path / "day.csv"
    path.write_bytes(b"x,label\n" + b"hi,a\n" * 2000 + b"\xff,b\n")
    rows = read_csv(path, TaskConfig(input="x"))
    for _ in range(2000):
        next(rows)
    with pytest.raises(DataError, match=r"day\.csv:2002: not UTF-8"):
        next(rows)


def test_a_huge_line_is_refused_before_it_is_read(read, monkeypatch):
    monkeypatch.setattr(stream_csv, "MAX_LINE", 20)
    assert len(read(b"x,label\nhi,aaaaaaaaaaaaaaa\n")) == 1
    with pytest.raises(DataError, match=r"day\.csv:2: the line is longer than 16 Mi characters"):
        read(b"x,label\nhi,aaaaaaaaaaaaaaaaaaaaaa\n")


def test_labels_may_be_absent_on_request(read):
    assert read(b"x\nhi\n", labelled=False)[0].target is None
    with pytest.raises(DataError, match="no column 'label'"):
        read(b"x\nhi\n")
