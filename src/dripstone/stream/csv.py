"""CSV with a header line (RFC 4180), in UTF-8."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, separator_remedy, shown_name, to_example, unreadable

MAX_LINE = 16 * 2**20

_UNDECODED = re.compile("[\udc80-\udcff]")


def read_csv(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, row by row; blank lines are skipped. Labels are read as strings.

    A field holds at most 128 Ki characters, the limit of Python's ``csv``.

    Raises
    ------
    DataError
        If a row has more or fewer fields than the header, two columns have one name, or a line is not CSV in UTF-8 or
        longer than 16 Mi characters; file and line number are named.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header: list[str] | None = None
        for origin, row in _rows(file, shown_name(path)):
            if header is None:
                header = _checked_header(row, origin)
                continue
            if len(row) != len(header):
                raise _miscounted(origin, row, header)
            yield to_example(dict(zip(header, row, strict=True)), columns, origin, labelled=labelled)


def _rows(file: TextIO, name: str) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, each with file and line number."""
    reader = csv.reader(_lines(file, name), strict=True)
    try:
        for row in reader:
            if row:
                yield f"{name}:{reader.line_num}", row
    except csv.Error as error:
        raise unreadable(f"{name}:{reader.line_num}", f"not CSV: {error}", "data.line") from None


def _lines(file: TextIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise unreadable(f"{name}:{number}", "the line is longer than 16 Mi characters", "data.line")
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
