"""CSV with a header line (RFC 4180), in UTF-8."""

from __future__ import annotations

import csv
import inspect
import io
import re
from collections.abc import Generator, Iterator
from pathlib import Path

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, separator_remedy, shown_name, to_example, unreadable
from dripstone.stream.snapshot import Snapshot

MAX_LINE = 16 * 2**20

_UNDECODED = re.compile("[\udc80-\udcff]")


def read_csv(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, row by row; blank lines are skipped. Labels are read as strings.

    A field holds at most 128 Ki characters, the limit of Python's ``csv``. What is appended after the file was opened
    is not read. Where a writer was in the middle of the last row, that row is left for the next time.

    Raises
    ------
    DataError
        If a row has more or fewer fields than the header, two columns have one name, or a line is not CSV in UTF-8 or
        longer than 16 Mi characters; file and line number are named.
    """
    with path.open("rb", buffering=0) as file:
        header: list[str] | None = None
        for origin, row in _rows(Snapshot(file), shown_name(path)):
            if header is None:
                header = _checked_header(row, origin)
                continue
            if len(row) != len(header):
                raise _miscounted(origin, row, header)
            yield to_example(dict(zip(header, row, strict=True)), columns, origin, labelled=labelled)


def _rows(snapshot: Snapshot, name: str) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, each with file and line number."""
    lines = _lines(snapshot, name)
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            if row:
                yield f"{name}:{reader.line_num}", row
    except csv.Error as error:
        # After the last line there is one error only: a quoted field is still open. Its end may be on its way.
        if inspect.getgeneratorstate(lines) == inspect.GEN_CLOSED and snapshot.grown():
            return
        raise unreadable(f"{name}:{reader.line_num}", f"not CSV: {error}", "data.line") from None


def _lines(snapshot: Snapshot, name: str) -> Generator[str, None, None]:
    text = io.TextIOWrapper(io.BufferedReader(snapshot), encoding="utf-8-sig", errors="surrogateescape", newline="")
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise unreadable(f"{name}:{number}", "the line is longer than 16 Mi characters", "data.line")
        # Half of a row may have as many fields as a whole one, and the beginning of a label for a label.
        if not line.endswith(("\n", "\r")) and snapshot.grown():
            return
        # Decoding strictly would fail for the whole buffer, many lines before the bad one.
        if _UNDECODED.search(line):
            raise unreadable(f"{name}:{number}", "not UTF-8", "data.line")
        yield line


def _checked_header(header: list[str], origin: str) -> list[str]:
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise unreadable(origin, f"two columns are called {twice!r}", "data.line")
    return header


def _miscounted(origin: str, row: list[str], header: list[str]) -> DataError:
    problem = f"{len(row)} fields under a header of {len(header)}"
    # A file that semicolons or tabs separate ends here where a text in it has a comma.
    if remedy := separator_remedy(header):
        return DataError(f"{origin}: {problem}, {record_excerpt(header[0])}", remedy=remedy, kind="data.line")
    return unreadable(origin, problem, "data.line")
