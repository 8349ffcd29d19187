"""Parquet files, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.examples import Example
from dripstone.stream.columns import shown_name, wanted_columns
from dripstone.stream.record_batches import ROWS, arrow_errors, batch_examples, import_pyarrow

BATCH_BYTES = 16 * 2**20
BUFFER_BYTES = 64 * 2**10


def read_parquet(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, row by row; columns that are not configured are not read.

    Memory is bounded whatever the length of the file and of its row groups: pages are read as they are needed, and
    decoded into batches of at most 512 rows, fewer where rows are large. Inputs may be texts, numbers, or lists of
    numbers, nested or not.

    Raises
    ------
    DataError
        If the file is damaged, a column is missing, or a value cannot be read; file and row are named, from 1.
    UsageError
        If the extra ``parquet`` is not installed.

    Examples
    --------
    >>> import pathlib, tempfile, pyarrow, pyarrow.parquet
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "day.parquet"
    >>> pyarrow.parquet.write_table(pyarrow.table({"text": ["hi"], "label": ["greet"], "more": [0]}), path)
    >>> [(row.inputs, row.target, row.origin) for row in read_parquet(path, TaskConfig(input="text"))]
    [('hi', 'greet', 'day.parquet:1')]
    """
    import_pyarrow()
    from pyarrow.parquet import ParquetFile

    name = shown_name(path)
    with path.open("rb") as file, arrow_errors(f"{name} as Parquet", "write the file again, whole"):
        # Without a buffer, and with reading ahead, all of a row group's column is held at once.
        parquet = ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
        wanted = wanted_columns(parquet.schema_arrow.names, columns, name, labelled=labelled)
        yield from batch_examples(_batches(parquet, wanted), wanted, columns, f"{name}:", labelled=labelled)


def _batches(parquet: Any, wanted: list[str]) -> Iterator[Any]:
    for number in range(parquet.num_row_groups):
        rows = _batch_rows(parquet.metadata.row_group(number))
        # Threads would decode columns side by side, but turning rows into examples takes far longer than that.
        yield from parquet.iter_batches(batch_size=rows, row_groups=[number], columns=wanted, use_threads=False)


def _batch_rows(group: Any) -> int:
    """Rows that fit ``BATCH_BYTES`` with all their columns, at least one.

    The sizes of single columns are not asked for: on damaged metadata pyarrow then ends the process.
    """
    return max(1, min(ROWS, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))
