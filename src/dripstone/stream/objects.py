"""Python objects: an iterable of mappings, or of examples that were read before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, to_example


def read_objects(
    records: Iterable[Mapping[str, Any] | Example], columns: TaskConfig, *, labelled: bool = True
) -> Iterator[Example]:
    """Yield the examples of an iterable of records.

    Examples
    --------
    >>> rows = [{"inputs": [1, 2], "label": "a"}]
    >>> [(row.inputs.tolist(), row.target) for row in read_objects(rows, TaskConfig())]
    [([1.0, 2.0], 'a')]
    """
    for number, record in enumerate(records, start=1):
        if isinstance(record, Example):
            yield record
            continue
        if not isinstance(record, Mapping):
            raise DataError(
                f"row {number} is not a mapping of columns: {record_excerpt(record)}",
                remedy=f"send rows as {{{columns.input!r}: ..., {columns.target!r}: ...}}",
                kind="data.row",
            )
        yield to_example(record, columns, f"row {number}", labelled=labelled)
