"""Data sets of torch, and of Hugging Face's ``datasets``, as they are in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.columns import record_excerpt, to_example, unreadable, wanted_columns

_HUGGING_FACE = {("datasets.arrow_dataset", "Dataset"), ("datasets.iterable_dataset", "IterableDataset")}


def is_dataset(source: object) -> bool:
    """Whether an object is a data set of torch's kind, with an item a number, or one of Hugging Face.

    Examples
    --------
    >>> import torch
    >>> is_dataset(torch.utils.data.TensorDataset(torch.zeros(1))), is_dataset([])
    (True, False)
    """
    return _is_hugging_face(source) or _is_torch(source) or _has_items(source)


def _is_hugging_face(source: object) -> bool:
    return any((kind.__module__, kind.__name__) in _HUGGING_FACE for kind in type(source).__mro__)


def _is_torch(source: object) -> bool:
    names = [(kind.__module__, kind.__name__) for kind in type(source).__mro__]
    return ("torch.utils.data.dataset", "Dataset") in names


def _has_items(source: object) -> bool:
    """Torch asks for no base class; what can be iterated is left to the reader of objects."""
    kind = type(source)
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__") and not hasattr(kind, "__iter__")


def read_dataset(source: Any, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a data set, row by row.

    A row is a mapping of columns, or a pair of an input and a label, as torchvision has it, which become the configured
    columns. Of Hugging Face's data sets the configured columns are read as plain values whatever the format that was
    set, and class numbers (``ClassLabel``) become their names, the missing one (-1) None; after ``set_transform`` rows
    are taken as the transform makes them. A missing value is None; as the only input it is an empty text or NaN, after
    the column's type, so that screening rejects its row alone.

    Raises
    ------
    DataError
        If a row is neither, a column is missing, or a value cannot be read; the row is named, from 1.

    Examples
    --------
    >>> import torch
    >>> pairs = torch.utils.data.TensorDataset(torch.tensor([[1.0, 2.0]]), torch.tensor([3]))
    >>> [(row.inputs.tolist(), row.target) for row in read_dataset(pairs, TaskConfig())]
    [([1.0, 2.0], 3)]
    """
    rows = _hugging_face_rows(source, columns, labelled) if _is_hugging_face(source) else _torch_rows(source)
    for number, row in enumerate(rows, start=1):
        origin = f"row {number}"
        yield to_example(_record(row, columns, origin), columns, origin, labelled=labelled)


def _torch_rows(source: Any) -> Iterator[Any]:
    # One with items may have no end of its own: where Python iterates over them, it waits for an IndexError.
    if hasattr(source, "__iter__"):
        return iter(source)
    if not hasattr(source, "__len__"):
        raise DataError(
            f"a {type(source).__name__} has neither a length nor an iterator",
            remedy="give it __len__ or __iter__",
            kind="data.row",
        )
    return (source[index] for index in range(len(source)))


def _record(row: Any, columns: TaskConfig, origin: str) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if not isinstance(row, tuple) or len(row) != 2:
        raise DataError(
            f"{origin} is neither a mapping of columns nor a pair: {record_excerpt(row)}",
            remedy=f"make rows {{{columns.input!r}: ..., {columns.target!r}: ...}} or (input, label)",
            kind="data.row",
        )
    inputs, target = row
    if isinstance(columns.input, str):
        return {columns.input: inputs, columns.target: target}
    try:
        return {**dict(zip(columns.input, inputs, strict=True)), columns.target: target}
    except (TypeError, ValueError):
        problem = f"the input is not {len(columns.input)} values, one a column: {record_excerpt(inputs)}"
        raise unreadable(origin, problem) from None


def _hugging_face_rows(source: Any, columns: TaskConfig, labelled: bool) -> Iterator[Mapping[str, Any]]:
    """Rows of plain values with names of classes in place of numbers."""
    if getattr(source, "format", {}).get("type") == "custom":  # a transform may make other columns of what is there
        yield from source
        return
    features = source.features or {}  # those of a stream may not be known
    source = source.with_format(None)
    if features:
        source = source.select_columns(wanted_columns(list(features), columns, "the data set", labelled=labelled))
    names = {name: kind.names for name, kind in features.items() if type(kind).__name__ == "ClassLabel"}
    texts = {name for name, kind in features.items() if getattr(kind, "dtype", "") in ("string", "large_string")}
    for row in source:
        record = {name: _class_name(value, names.get(name)) for name, value in row.items()}
        if features and isinstance(columns.input, str) and record[columns.input] is None:
            record[columns.input] = "" if columns.input in texts else math.nan
        yield record


def _class_name(value: Any, names: list[str] | None) -> Any:
    if names is None or not isinstance(value, int):
        return value
    if value == -1:
        return None
    return names[value] if 0 <= value < len(names) else value
