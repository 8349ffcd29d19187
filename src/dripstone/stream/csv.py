"""CSV with a header line (RFC 4180), in UTF-8."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import to_example


def read_csv(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, row by row. Labels are read as strings.

    Raises
    ------
    DataError
        If a row has more or fewer fields than the header, or is not UTF-8; file and line number are named.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, None)
            for row in reader:
                if not row:
                    continue
                origin = f"{path.name}:{reader.line_num}"
                if header is None or len(row) != len(header):
                    raise _unreadable(origin, f"{len(row)} fields under a header of {len(header or [])}")
                yield to_example(dict(zip(header, row, strict=True)), columns, origin, labelled=labelled)
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(f"{path.name}:{reader.line_num + 1}", f"not CSV in UTF-8: {error}") from None


def _unreadable(origin: str, problem: str) -> DataError:
    return DataError(f"{origin}: {problem}", remedy="mend or remove that line", kind="data.line")
