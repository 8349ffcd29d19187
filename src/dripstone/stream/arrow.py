"""Arrow: files and streams of record batches, Feather among them, and Arrow objects in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import shown_name, wanted_columns
from dripstone.stream.record_batches import ROWS, arrow_errors, batch_examples, import_pyarrow


def read_arrow(path: Path, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a file, row by row; columns that are not configured are not read.

    Both forms are read, that with a footer (``.arrow`` and Feather of version 2) and the stream. One record batch is in
    memory at a time, as large as it was written.

    Raises
    ------
    DataError
        If the file is damaged or Feather of version 1, a column is missing, or a value cannot be read; file and row are
        named, from 1.
    UsageError
        If the extra ``parquet`` is not installed.

    Examples
    --------
    >>> import pathlib, tempfile, pyarrow, pyarrow.feather
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "day.feather"
    >>> pyarrow.feather.write_feather(pyarrow.table({"text": ["hi"], "label": ["greet"]}), path)
    >>> [(row.inputs, row.target, row.origin) for row in read_arrow(path, TaskConfig(input="text"))]
    [('hi', 'greet', 'day.feather:1')]
    """
    name = shown_name(path)
    with path.open("rb") as file, arrow_errors(f"{name} as Arrow", "write the file again, whole"):
        opener = _opener(file, name)
        schema = opener(file).schema
        wanted = wanted_columns(schema.names, columns, name, labelled=labelled)
        fields = [schema.get_field_index(column) for column in wanted]
        file.seek(0)
        reader = opener(file, options=import_pyarrow().ipc.IpcReadOptions(included_fields=fields, use_threads=False))
        yield from batch_examples(_batches(reader), wanted, columns, f"{name}:", labelled=labelled)


def _opener(file: BinaryIO, name: str) -> Any:
    """What opens this form; the file is at its beginning again."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"FEA1"):
        raise DataError(f"{name} is Feather of version 1", remedy="write it as version 2", kind="data.file")
    ipc = import_pyarrow().ipc
    return ipc.open_file if start == b"ARROW1" else ipc.open_stream


def _batches(reader: Any) -> Iterator[Any]:
    if not hasattr(reader, "num_record_batches"):
        yield from reader
        return
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


def is_arrow(source: object) -> bool:
    """Whether an object is Arrow's: a table, a batch, a reader, a data set, or anything else with Arrow's C stream."""
    return hasattr(source, "__arrow_c_stream__") or _is_dataset(source)


def _is_dataset(source: object) -> bool:
    return any((kind.__module__, kind.__name__) == ("pyarrow._dataset", "Dataset") for kind in type(source).__mro__)


def read_arrow_object(source: Any, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, or of another library's stream.

    Raises
    ------
    DataError
        If it is no table, a column is missing, or a value cannot be read; the row is named, from 1.
    UsageError
        If the extra ``parquet`` is not installed.

    Examples
    --------
    >>> import pyarrow
    >>> table = pyarrow.table({"text": ["hi", "bye"], "label": ["greet", "part"]})
    >>> [(row.inputs, row.target) for row in read_arrow_object(table, TaskConfig(input="text"))]
    [('hi', 'greet'), ('bye', 'part')]
    """
    pyarrow, what = import_pyarrow(), "the Arrow source"
    with arrow_errors(what, "send a table with a name for each column"):
        if _is_dataset(source):
            wanted = wanted_columns(source.schema.names, columns, what, labelled=labelled)
            ahead = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
            batches = source.scanner(columns=wanted, batch_size=ROWS, **ahead).to_batches()
        else:
            batches = pyarrow.RecordBatchReader.from_stream(source)
            wanted = wanted_columns(batches.schema.names, columns, what, labelled=labelled)
        yield from batch_examples(batches, wanted, columns, "row ", labelled=labelled)
