"""JSON lines: every bad line is named by file and number."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.stream import jsonl
from dripstone.stream.jsonl import read_jsonl

COLUMNS = TaskConfig(input="x")
GOOD = b'{"x": "hi", "label": "a"}\n'


@pytest.fixture
def read(tmp_path):
    def read(data, **options):
        path = tmp_path / "day.jsonl"
        path.write_bytes(data)
        return list(read_jsonl(path, COLUMNS, **options))

    return read


def test_rows_with_their_line_numbers(read):
    rows = read(GOOD + b"\n  \r\n" + b'{"x": [1, 2.5], "label": 3}')
    assert [row.origin for row in rows] == ["day.jsonl:1", "day.jsonl:4"]
    assert rows[0].inputs == "hi"
    assert rows[1].inputs.tolist() == [1.0, 2.5]
    assert [row.target for row in rows] == ["a", 3]


def test_windows_line_ends_and_a_byte_order_mark(read):
    assert len(read(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") * 2)) == 2


def test_all_of_unicode(read):
    assert read('{"x": "Grüße 😀 \\ud83d\\ude00 \u2028", "label": "ä"}'.encode())[0].inputs == "Grüße 😀 😀 \u2028"


def test_nothing_at_all(read):
    assert read(b"") == []
    assert read(b"\n\n") == []


def test_not_a_number_reaches_screening(read):
    row = read(b'{"x": [NaN, Infinity, 1e400], "label": NaN}')[0]
    assert np.isnan(row.inputs[0])
    assert np.isinf(row.inputs[1:]).all()
    assert row.target != row.target


def test_an_escaped_half_character_reaches_screening(read):
    assert read(b'{"x": "\\ud800", "label": "a"}')[0].inputs == "\ud800"


def test_the_last_of_two_equal_keys_counts(read):
    assert read(b'{"x": "old", "x": "new", "label": "a"}')[0].inputs == "new"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"x": 1,}', "not JSON: .*: character 9;"),
        (b"{'x': 1}", "not JSON: .*: character 2;"),
        (b'{"x": 1} {"x": 2}', "not JSON: Extra data: character 10;"),
        (b'{"x": "hi', "not JSON: Invalid control character at: character 10;"),
        (b'{"x": "\xff", "label": "a"}', "not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"x": "\xed\xa0\x80", "label": "a"}', "not JSON: 'utf-8' codec"),
        (b'["x", "a"]', r"not a JSON object: \['x', 'a'\]"),
        (b"3", "not a JSON object: 3"),
        (b"null", "not a JSON object: None"),
        (b'"' + b"a" * 500 + b'"', r"not a JSON object: 'a+\.\.\.;"),
        (b'{"x": ' + b"[" * 100_000, "not JSON: maximum recursion depth"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit"),
        (b'{"x": [[1], [2, 3]], "label": "a"}', "the input is neither a text nor numbers"),
        (b'{"y": 1}', "has no column 'x', only 'y'"),
    ],
)
def test_bad_lines_are_named(read, line, words):
    with pytest.raises(DataError, match=f"day.jsonl:3.*{words}"):
        read(GOOD + b"\n" + line + b"\n" + GOOD)


def test_utf_16_is_refused(read):
    with pytest.raises(DataError, match=r"day\.jsonl:1: not JSON"):
        read(GOOD.decode().strip().encode("utf-16"))


def test_rows_before_a_bad_line_have_been_yielded(tmp_path):
    path = tmp_path / "day.jsonl"
    path.write_bytes(GOOD + b"{")
    rows = read_jsonl(path, COLUMNS)
    assert next(rows).inputs == "hi"
    with pytest.raises(DataError, match=":2"):
        next(rows)


def test_a_huge_line_is_refused_before_it_is_read(read, monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    longest = b'{"x": "' + b"a" * 77 + b'", "label": ""}\n'
    assert len(longest) == 100
    assert len(read(GOOD + longest)) == 2
    with pytest.raises(DataError, match=r"day\.jsonl:2: the line is longer than 16 MiB"):
        read(GOOD + b'{"x": "' + b"a" * 1000 + b'"}\n')


def test_labels_may_be_absent_on_request(read):
    assert read(b'{"x": "hi"}', labelled=False)[0].target is None
    with pytest.raises(DataError, match="no column 'label'"):
        read(b'{"x": "hi"}')


def test_a_file_name_that_is_no_text(tmp_path):
    path = tmp_path / "caf\udce9.jsonl"
    path.write_bytes(GOOD)
    origin = next(read_jsonl(path, COLUMNS)).origin
    assert origin == "caf\\udce9.jsonl:1"
