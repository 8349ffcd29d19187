"""From Arrow's record batches to examples: what Parquet, Arrow files and Arrow objects have in common."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError, UsageError
from dripstone.core.examples import Example
from dripstone.stream.columns import to_example, unreadable

ROWS = 512
"""Rows that are Python objects at one time."""


def batch_examples(
    batches: Iterable[Any], wanted: list[str], columns: TaskConfig, place: str, *, labelled: bool = True
) -> Iterator[Example]:
    """Yield the examples of record batches, a few hundred rows at a time.

    Lists of numbers, nested or not, become arrays without a Python object a number. Categories become what they stand
    for. Times become texts in microseconds, those with a zone in UTC. A null is None; as the only input it is an empty
    text or NaN, after the column's type, so that screening rejects its row alone.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Each is checked before it is read: lengths and offsets in a file may lie.
    wanted : list of str
        The columns to read, from ``wanted_columns``.
    columns : TaskConfig
        Which column means what.
    place : str
        What comes before the number of a row in messages: ``"day.parquet:"``.
    labelled : bool
        False lets the target column be absent.

    Raises
    ------
    DataError
        If a value cannot be read; the row is named.

    Examples
    --------
    >>> import pyarrow
    >>> batch = pyarrow.record_batch({"inputs": [[1, 2], [3, 4]], "label": ["a", "b"]})
    >>> rows = batch_examples([batch], ["inputs", "label"], TaskConfig(), "row ")
    >>> [(row.inputs.tolist(), row.target, row.origin) for row in rows]
    [([1.0, 2.0], 'a', 'row 1'), ([3.0, 4.0], 'b', 'row 2')]
    """
    number = 0
    for batch in batches:
        whole = batch.select(wanted)
        _check(whole, f"{place}{number + 1}")
        for start in range(0, whole.num_rows, ROWS):
            part = whole.slice(start, ROWS)
            values = [_column_values(part.column(name), name, columns, place, number) for name in wanted]
            for row in zip(*values, strict=True):
                number += 1
                yield to_example(dict(zip(wanted, row, strict=True)), columns, f"{place}{number}", labelled=labelled)


def import_pyarrow() -> Any:
    """The package ``pyarrow``, or an error that says how to install it."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(
            "Parquet and Arrow need the package 'pyarrow'", remedy="pip install 'dripstone[parquet]'"
        ) from error
    return pyarrow


@contextlib.contextmanager
def arrow_errors(what: str, remedy: str) -> Iterator[None]:
    """Errors of pyarrow as errors of the data; those of the operating system stay what they are."""
    pyarrow = import_pyarrow()
    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:  # a damaged length may be huge
        # A damaged offset may also be one that no file can be moved to.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DataError(f"{what} cannot be read: {_first_line(error)}", remedy=remedy, kind="data.file") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _check(batch: Any, origin: str) -> None:
    try:
        batch.validate(full=True)
    except import_pyarrow().ArrowException as error:
        raise unreadable(f"{origin} and the rows after it", _first_line(error)) from None


def _column_values(column: Any, name: str, columns: TaskConfig, place: str, before: int) -> list[Any]:
    """The values of a column as Python objects, arrays where they are lists; ``before`` rows came before them."""
    try:
        values = _values(column)
    except (ValueError, OverflowError):
        values = []
        for index in range(len(column)):
            try:
                values += _values(column.slice(index, 1))
            except (ValueError, OverflowError) as error:
                problem = f"column {name!r} holds what Python has no value for: {_first_line(error)}"
                raise unreadable(f"{place}{before + index + 1}", problem) from None
    if name == columns.input:
        missing = "" if _is_text(column.type) else math.nan
        values = [missing if value is None else value for value in values]
    return values


def _values(column: Any) -> list[Any]:
    pyarrow = import_pyarrow()
    types, kind = pyarrow.types, column.type
    if isinstance(kind, pyarrow.FixedShapeTensorType):
        return [cell.to_numpy() if cell.is_valid else None for cell in column]
    if isinstance(kind, pyarrow.BaseExtensionType) and kind.extension_name != "arrow.uuid":
        return _values(column.storage)
    if types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if _is_list(kind):
        return [_numbers(cell.values) if cell.is_valid else None for cell in column]
    if types.is_temporal(kind):
        return _times(column)
    return column.to_pylist()


def _numbers(array: Any) -> Any:
    """The values of a list, as an array of numpy, or lists of them; a null among numbers is NaN."""
    pyarrow = import_pyarrow()
    if isinstance(array.type, pyarrow.BaseExtensionType):
        array = array.storage
    if _is_list(array.type):
        return [_numbers(cell.values) if cell.is_valid else None for cell in array]
    return array.to_numpy(zero_copy_only=False)


def _times(column: Any) -> list[Any]:
    """Dates and times of Python, which has no nanoseconds and may lack the data of time zones."""
    pyarrow = import_pyarrow()
    types, kind = pyarrow.types, column.type
    unit = getattr(kind, "unit", "")
    if unit == "ns":
        maker = pyarrow.time64 if types.is_time(kind) else pyarrow.duration if types.is_duration(kind) else None
        column = column.cast(maker("us") if maker else pyarrow.timestamp("us", kind.tz), safe=False)
        unit = "us"
    if not types.is_timestamp(kind) or kind.tz is None:
        return column.to_pylist()
    times = column.cast(pyarrow.timestamp(unit)).to_pylist()
    return [None if time is None else time.replace(tzinfo=UTC) for time in times]


def _is_list(kind: Any) -> bool:
    types = import_pyarrow().types
    sized = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return sized or types.is_list_view(kind) or types.is_large_list_view(kind)


def _is_text(kind: Any) -> bool:
    types = import_pyarrow().types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
