"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dripstone.core.config import TaskConfig
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, shown_name, to_example, unreadable

MAX_LINE_BYTES = 16 * 2**20


def read_jsonl(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, line by line; blank lines are skipped.

    Raises
    ------
    DataError
        If a line is not a JSON object in UTF-8, or longer than 16 MiB; file and line number are named.
    """
    with path.open("rb") as lines:
        name, number = shown_name(path), 0
        while line := lines.readline(MAX_LINE_BYTES + 1):
            number += 1
            origin = f"{name}:{number}"
            if len(line) > MAX_LINE_BYTES:
                raise unreadable(origin, "the line is longer than 16 MiB", "data.line")
            if line.strip():
                yield to_example(_record(line, origin), columns, origin, labelled=labelled)


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
