"""From a record (a mapping of columns) to an example."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example, Inputs, content_id


def to_example(record: Mapping[str, Any], columns: TaskConfig, origin: str, *, labelled: bool = True) -> Example:
    """Pick the configured columns of one record.

    Parameters
    ----------
    record : mapping
        Column name to value. Inputs may be a text, numbers, nested lists of numbers, arrays or tensors.
    columns : TaskConfig
        Which column means what.
    origin : str
        Where the record was read, for messages.
    labelled : bool
        False lets the target column be absent.

    Raises
    ------
    DataError
        If a column is missing or its value cannot be read; ``origin`` is named.

    Examples
    --------
    >>> row = to_example({"text": "hi", "label": "greet"}, TaskConfig(input="text"), "row 1")
    >>> row.inputs, row.target
    ('hi', 'greet')
    """
    names = [columns.input] if isinstance(columns.input, str) else columns.input
    values = [_column(record, name, origin) for name in names]
    inputs = to_inputs(values[0], origin) if isinstance(columns.input, str) else _vector(values, names, origin)
    target = _column(record, columns.target, origin) if labelled else record.get(columns.target)
    given_id = record.get(columns.id) if columns.id else None
    return Example(
        id=content_id(inputs) if given_id in (None, "") else str(given_id),
        inputs=inputs,
        target=_plain(target),
        weight=_weight(record.get(columns.weight) if columns.weight else None, origin),
        time=_text_or_none(record.get(columns.time) if columns.time else None),
        slice=_text_or_none(record.get(columns.slice) if columns.slice else None),
        origin=origin,
    )


def _column(record: Mapping[str, Any], name: str, origin: str) -> Any:
    try:
        return record[name]
    except KeyError:
        raise DataError(
            f"{origin} has no column {name!r}, only {', '.join(map(repr, record)) or 'nothing'}",
            remedy="rename the column, or set task.input and task.target in dripstone.toml",
            kind="data.column",
        ) from None


def to_inputs(value: Any, origin: str) -> Inputs:
    """A text as it is; numbers, nested lists, arrays and tensors as a float32 array of at least one dimension.

    Raises
    ------
    DataError
        If it is neither; ``origin`` is named.
    """
    if isinstance(value, str):
        return value
    return _array(value, origin)


def _vector(values: list[Any], names: list[str], origin: str) -> np.ndarray:
    try:
        return np.array([float(value) for value in values], dtype=np.float32)
    except (TypeError, ValueError):
        bad = next(name for name, value in zip(names, values, strict=True) if not _is_number(value))
        raise _unreadable(
            origin, f"column {bad!r} is not a number: {record_excerpt(values[names.index(bad)])}"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _array(value: Any, origin: str) -> np.ndarray:
    try:
        array = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fiub":
            raise ValueError("not numeric")
        # A number too large for float32 becomes infinite here, and screening then says so.
        with np.errstate(over="ignore"):
            return np.atleast_1d(array.astype(np.float32))
    except (TypeError, ValueError):
        raise _unreadable(origin, f"the input is neither a text nor numbers: {record_excerpt(value)}") from None


def _plain(value: Any) -> Any:
    """numpy's and torch's scalars as Python's; screening judges the rest."""
    return value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value


def _weight(value: Any, origin: str) -> float:
    if value is None or value == "":
        return 1.0
    if isinstance(value, numbers.Real) or (isinstance(value, str) and _is_number(value)):
        return float(value)
    raise _unreadable(origin, f"the weight is not a number: {record_excerpt(value)}")


def _text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _unreadable(origin: str, problem: str) -> DataError:
    return DataError(f"{origin}: {problem}", remedy="mend or remove that row", kind="data.value")


def record_excerpt(value: Any) -> str:
    """A short form of a value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
