"""Data frames of any library that narwhals knows: pandas, polars, modin, cuDF, Dask, DuckDB, Spark ..."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.core.examples import Example
from dripstone.stream.columns import to_example, wanted_columns

ROWS = 512
"""Rows that are Python objects at one time."""

_LIBRARIES = {
    "_duckdb": "DuckDBPyRelation",
    "cudf": "DataFrame",
    "dask": "DataFrame",
    "duckdb": "DuckDBPyRelation",
    "ibis": "Table",
    "modin": "DataFrame",
    "narwhals": "DataFrame LazyFrame",
    "pandas": "DataFrame",
    "polars": "DataFrame LazyFrame",
    "pyspark": "DataFrame",
    "sqlframe": "DataFrame",
}


def is_frame(source: object) -> bool:
    """Whether an object is a data frame, told from the name of its class, so that no library is imported.

    Examples
    --------
    >>> import pandas
    >>> is_frame(pandas.DataFrame()), is_frame(pandas.Series()), is_frame([])
    (True, False, False)
    """
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(source).__mro__]
    return any(name in _LIBRARIES.get(library, "").split() for library, name in kinds)


def read_frame(source: Any, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a data frame, row by row; columns that are not configured are not read.

    A lazy frame is computed for these columns alone, polars' a few rows at a time, others at once. A missing value is
    None; as the only input it is an empty text or NaN, after the column's type, so that screening rejects its row
    alone. In pandas' frames, and those made after it, NaN is a missing value.

    Raises
    ------
    DataError
        If a column is missing or there twice, or a value cannot be read; the row is named, from 1.
    UsageError
        If the extra ``frames`` is not installed.

    Examples
    --------
    >>> import pandas
    >>> frame = pandas.DataFrame({"text": ["hi", "bye"], "label": ["greet", None]})
    >>> [(row.inputs, row.target) for row in read_frame(frame, TaskConfig(input="text"))]
    [('hi', 'greet'), ('bye', None)]
    """
    narwhals = _import_narwhals()
    try:
        frame = narwhals.from_native(source)
        schema = frame.collect_schema()
    except narwhals.exceptions.DuplicateError as error:
        wanted_columns(list(source.columns), columns, "the frame", labelled=labelled)  # which names the column
        raise DataError(f"the frame: {error}", remedy="rename one of them", kind="data.column") from None
    wanted = wanted_columns(list(schema), columns, "the frame", labelled=labelled)
    texts = isinstance(columns.input, str) and schema[columns.input] in _text_types(narwhals)
    unknown = frame.implementation.is_pandas_like()
    for number, row in enumerate(_rows(narwhals, frame.select(wanted)), start=1):
        record = {name: _cell(value, unknown) for name, value in row.items()}
        if isinstance(columns.input, str) and record[columns.input] is None:
            record[columns.input] = "" if texts else math.nan
        yield to_example(record, columns, f"row {number}", labelled=labelled)


def _import_narwhals() -> Any:
    try:
        import narwhals
    except ImportError as error:
        raise UsageError("data frames need the package 'narwhals'", remedy="pip install 'dripstone[frames]'") from error
    return narwhals


def _text_types(narwhals: Any) -> tuple[Any, ...]:
    return (narwhals.String, narwhals.Categorical, narwhals.Enum)


def _rows(narwhals: Any, frame: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(frame, narwhals.LazyFrame):
        return frame.iter_rows(named=True, buffer_size=ROWS)
    native = narwhals.to_native(frame)
    if not hasattr(native, "collect_batches"):
        return frame.collect().iter_rows(named=True, buffer_size=ROWS)
    parts = (narwhals.from_native(part) for part in native.collect_batches(chunk_size=ROWS))
    return itertools.chain.from_iterable(part.iter_rows(named=True, buffer_size=ROWS) for part in parts)


def _cell(value: Any, nan_is_missing: bool) -> Any:
    """A value with Python's own None for what is missing, and lists within lists as such."""
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if nan_is_missing and isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":  # a list of lists that came from Parquet
        return [_cell(inner, False) for inner in value]
    return value
