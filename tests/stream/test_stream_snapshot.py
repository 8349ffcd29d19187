"""A file that grows while it is read: every whole row of what was there, and nothing of a row that is half written."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.stream.csv import read_csv
from dripstone.stream.jsonl import read_jsonl
from dripstone.stream.snapshot import Snapshot

COLUMNS = TaskConfig(input="x")
JSON_LINES = '{"x": "hi", "label": "a"}\n{"x": "grün 😀", "label": "bé"}\r\n\n{"x": "ho", "label": "c"}\n'.encode()
CSV_LINES = 'x,label\r\nhi,a\r\n"grün, ""😀""\n\nand more",bé\r\n\r\nho,"c\nd"\nhu,ef\n'.encode()


def append(path, data):
    """A writer in a thread of its own, which has appended when this returns."""

    def write():
        with path.open("ab") as file:
            file.write(data)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()


def read_while_written(path, reader, data, cut):
    """What a reader finds that opened the file at ``cut`` and came to its end when the rest was there."""
    path.write_bytes(data[:cut])
    rows = reader(path, COLUMNS)
    found = [next(rows)]
    append(path, data[cut:])
    return [(row.inputs, row.target) for row in [*found, *rows]]


def test_nothing_is_read_beyond_the_size_at_the_beginning(tmp_path):
    path = tmp_path / "day"
    path.write_bytes(b"ab" * 50_000)
    with path.open("rb", buffering=0) as file:
        snapshot = Snapshot(file)
        assert not snapshot.grown()
        append(path, b"cd" * 50_000)
        assert snapshot.grown()
        assert io.BufferedReader(snapshot).read() == b"ab" * 50_000


def test_a_file_that_shrinks_has_not_grown(tmp_path):
    path = tmp_path / "day"
    path.write_bytes(b"abcdef")
    with path.open("rb", buffering=0) as file:
        snapshot = Snapshot(file)
        path.write_bytes(b"abc")
        assert snapshot.read() == b"abc"
        assert not snapshot.grown()


@pytest.mark.parametrize("cut", range(JSON_LINES.index(b"\n") + 1, len(JSON_LINES) + 1))
def test_json_lines_cut_anywhere_by_their_writer(tmp_path, cut):
    path = tmp_path / "day.jsonl"
    whole = [("hi", "a"), ("grün 😀", "bé"), ("ho", "c")]
    ends = [JSON_LINES.index(b"}", JSON_LINES.index(label.encode())) + 1 for _, label in whole[1:]]
    found = read_while_written(path, read_jsonl, JSON_LINES, cut)
    assert found == whole[: 1 + sum(end <= cut for end in ends)]
    assert [(row.inputs, row.target) for row in read_jsonl(path, COLUMNS)] == whole


@pytest.mark.parametrize("cut", range(CSV_LINES.index(b"hi,a") + 5, len(CSV_LINES) + 1))
def test_csv_cut_anywhere_by_its_writer(tmp_path, cut):
    path = tmp_path / "day.csv"
    whole = [("hi", "a"), ('grün, "😀"\n\nand more', "bé"), ("ho", "c\nd"), ("hu", "ef")]
    marks = ("bé\r", 'd"\n', "ef\n")
    ends = [CSV_LINES.index(mark.encode()) + len(mark.encode()) for mark in marks]
    found = read_while_written(path, read_csv, CSV_LINES, cut)
    if cut < len(CSV_LINES):
        assert found == whole[: 1 + sum(end <= cut for end in ends)]
    assert [(row.inputs, row.target) for row in read_csv(path, COLUMNS)] == whole


@pytest.mark.parametrize(
    ("reader", "start", "rest"),
    [
        (read_jsonl, b'{"x": "hi", "label": "a"}\n{"x": "h', b'o", "label": "b"}\n'),
        (read_csv, b"x,label\nhi,a\nho,greet", b"ing\n"),
    ],
)
def test_a_writer_in_another_process(tmp_path, reader, start, rest):
    path = tmp_path / "day"
    path.write_bytes(start)
    rows = reader(path, COLUMNS)
    assert next(rows).inputs == "hi"
    program = "import sys; open(sys.argv[1], 'ab').write(bytes.fromhex(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", program, path, rest.hex()], check=True)
    assert list(rows) == []
    assert [row.inputs for row in reader(path, COLUMNS)] == ["hi", "ho"]


@pytest.mark.parametrize(
    ("reader", "data", "words"),
    [
        (read_jsonl, b'{"x": "hi", "label": "a"}\n{"x": "h', "day:2: not JSON: Unterminated string"),
        (read_jsonl, '{"x": "hi", "label": "a"}\n{"x": "ü'.encode()[:-1], "day:2: not JSON: 'utf-8' codec"),
        (read_csv, b"x,label\nhi,a\nho", "day:3: 1 fields under a header of 2"),
        (read_csv, b'x,label\nhi,a\n"ho,b', "day:3: not CSV: unexpected end of data"),
        (read_csv, b'x,label\nhi,a\n"ho,b\n', "day:3: not CSV: unexpected end of data"),
        (read_csv, "x,label\nhi,a\nho,ü".encode()[:-1], "day:3: not UTF-8"),
    ],
)
def test_a_truncated_file_that_does_not_grow_is_an_error(tmp_path, reader, data, words):
    path = tmp_path / "day"
    path.write_bytes(data)
    rows = reader(path, COLUMNS)
    assert next(rows).inputs == "hi"
    with pytest.raises(DataError, match=words) as caught:
        next(rows)
    assert caught.value.remedy == "mend or remove that line"


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        (read_jsonl, b'{"x": "hi", "label": "a"}\n{"x": "h\n'),
        (read_csv, b"x,label\nhi,a\nho\n"),
        (read_csv, b'x,label\nhi,a\n"ho"?,b\n'),
        (read_csv, b"x,label\nhi,a\n\xff,b\n"),
    ],
)
def test_a_bad_line_that_is_whole_is_an_error_also_while_the_file_grows(tmp_path, reader, data):
    with pytest.raises(DataError, match=r"day:[23]: "):
        read_while_written(tmp_path / "day", reader, data + b"?", len(data))


def test_a_header_that_is_half_written(tmp_path, monkeypatch):
    path = tmp_path / "day.csv"
    path.write_bytes(b"x,lab")
    monkeypatch.setattr(Snapshot, "grown", lambda snapshot: True)
    assert list(read_csv(path, COLUMNS)) == []
