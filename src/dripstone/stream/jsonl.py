"""JSON lines: one object a line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, shown_name, to_example, unreadable
from dripstone.stream.snapshot import Snapshot

MAX_LINE_BYTES = 16 * 2**20


def read_jsonl(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, line by line; blank lines are skipped.

    What is appended after the file was opened is not read. Where a writer was in the middle of the last line, that line
    is left for the next time.

    Raises
    ------
    DataError
        If a line is not a JSON object in UTF-8, or longer than 16 MiB; file and line number are named.
    """
    with path.open("rb", buffering=0) as file:
        snapshot, name = Snapshot(file), shown_name(path)
        for number, line in enumerate(_lines(snapshot, name), start=1):
            origin = f"{name}:{number}"
            if line.strip():
                try:
                    record = _record(line, origin)
                except DataError:
                    if not line.endswith(b"\n") and snapshot.grown():
                        return
                    raise
                yield to_example(record, columns, origin, labelled=labelled)


def _lines(snapshot: Snapshot, name: str) -> Iterator[bytes]:
    lines, number = io.BufferedReader(snapshot), 0
    while line := lines.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise unreadable(f"{name}:{number}", "the line is longer than 16 MiB", "data.line")
        yield line


def _record(line: bytes, origin: str) -> dict[str, object]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise unreadable(origin, f"not JSON: {error.msg}: character {error.pos + 1}", "data.line") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, numbers too long, lists too deep
        raise unreadable(origin, f"not JSON: {error}", "data.line") from None
    if not isinstance(record, dict):
        raise unreadable(origin, f"not a JSON object: {record_excerpt(record)}", "data.line")
    return record
