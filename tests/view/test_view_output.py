import io
import json
import os
import subprocess
import sys

import click
import pytest

from dripstone.core.errors import DataError, RaceLostError
from dripstone.core.records import count
from dripstone.view.output import Output, fields, moment, plain, report_error, short, table, wrap


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize(("format", "out"), [("human", "words\n"), ("json", '{"a": "é"}\n'), ("quiet", "")])
def test_data_goes_to_stdout_in_the_chosen_form(format, out, capfd):
    Output(format).data({"a": "é"}, "words")
    assert capfd.readouterr() == (out, "")


@pytest.mark.parametrize(("format", "err"), [("human", "note\nwarn\n"), ("json", "warn\n"), ("quiet", "")])
def test_words_go_to_stderr(format, err, capfd):
    Output(format).note("note")
    Output(format).warn("warn")
    assert capfd.readouterr() == ("", err)


def test_json_is_utf_8_and_holds_half_characters_as_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    Output("json").data(["é", "\ud800"], "")
    assert json.loads(stream.buffer.getvalue()) == ["é", "\ud800"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("it is empty", remedy="send rows"), 2, "dripstone: it is empty; send rows"),
        (RaceLostError("somebody was first", remedy="run it again"), 3, "run it again"),
        (click.UsageError("no such option"), 2, "no such option"),
        (KeyboardInterrupt(), 3, "run the same command again"),
        (click.Abort(), 3, "interrupted"),
        (ZeroDivisionError("oh"), 101, "a bug: ZeroDivisionError: oh; please report"),
    ],
)
def test_every_error_has_its_code_and_its_words(error, code, words, capsys):
    assert report_error(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


CLOSED = """
import sys
from dripstone.view.output import Output, report_error
sys.stdin.read()
Output("human").data(1, "answer")
Output("human").note("note")
sys.exit(report_error(ValueError("late")))
"""


def test_a_reader_that_has_gone_changes_no_exit_code():
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()
    assert process.wait(30) == 101


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_no_bug():
    code = "from dripstone.view.output import Output; Output('json').data(1, '')"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert "UsageError: stdout cannot be written: No space left on device; send it elsewhere" in done.stderr


def test_a_table_is_aligned_with_numbers_to_the_right():
    rows = [["a", "1,000", "x"], ["long", "7", ""]]
    assert table(["name", "rows", "note"], rows).split("\n") == ["name   rows  note", "a     1,000  x", "long      7"]
    assert table(["name", "rows"], []) == "name  rows"


def test_wide_characters_keep_a_table_aligned():
    lines = table(["label", "answer"], [["查询余额", "x"], ["cafe\u0301", "y"]]).split("\n")
    assert lines == ["label     answer", "查询余额  x", "cafe\u0301      y"]


def test_text_from_the_data_cannot_move_the_cursor():
    assert plain("a\x1b[2Jb\nc\ud800 é 查") == "a\\x1b[2Jb\\nc\\ud800 é 查"
    assert "\x1b" not in table(["label"], [["\x1b[31m"]])
    assert "\n" not in fields({"label": "a\nb"})


def test_long_values_go_on_under_their_own_beginning(monkeypatch):
    lines = fields({"a": "x", "name": "word " * 40}, indent="  ").split("\n")
    assert lines[0] == "  a     x"
    assert all(line.startswith("        word") for line in lines[2:])
    assert all(len(line) <= 100 for line in lines)
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, wrap("word " * 40).split("\n"))) <= 50
    assert wrap("word " * 40, rest="  ").split("\n")[1].startswith("  word")
    assert wrap("", "name  ") == "name"


def test_small_words():
    assert short("0123456789abcdef") == "0123456789ab"
    assert short(None) == "-"
    assert moment("2026-01-31T08:35:54+00:00") == "2026-01-31 08:35:54"
    assert [count(0, "row"), count(1, "row"), count(2000, "row")] == ["0 rows", "1 row", "2,000 rows"]
