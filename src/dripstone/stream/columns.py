"""From a record (a mapping of columns) to an example."""

from __future__ import annotations

import itertools
import math
import numbers
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example, Inputs, Reply, content_id

_SURROGATE = re.compile("[\ud800-\udfff]")


def to_example(record: Mapping[str, Any], columns: TaskConfig, origin: str, *, labelled: bool = True) -> Example:
    """Pick the configured columns of one record.

    Parameters
    ----------
    record : mapping
        Column name to value. Inputs may be a text, numbers, nested lists of numbers, arrays, tensors or pictures of
        Pillow.
    columns : TaskConfig
        Which column means what.
    origin : str
        Where the record was read, for messages.
    labelled : bool
        False lets the target column, and the columns of id, slice, weight and time, be absent. In labelled rows each
        column that is configured has to be there, so that a misspelt one is noticed; its value may be null or empty.

    Returns
    -------
    Example
        White space around a string label is taken off: ``"yes "`` is no label of its own, and white space alone is an
        empty label. Where several columns make the input, an empty cell or None is NaN. Screening rejects rows with an
        empty label or NaN, and those rows alone.

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
    if labelled:
        _check_optional(record, columns, origin)
    inputs = to_inputs(values[0], origin) if isinstance(columns.input, str) else _vector(values, names, origin)
    target = _target(record, columns, origin, labelled=labelled)
    return Example(
        id=_text(record, columns.id, origin) or content_id(inputs, target if isinstance(target, float) else None),
        inputs=inputs,
        target=target,
        weight=_weight(_optional(record, columns.weight), origin),
        time=_text(record, columns.time, origin),
        slice=_text(record, columns.slice, origin),
        origin=origin,
    )


def _target(record: Mapping[str, Any], columns: TaskConfig, origin: str, *, labelled: bool) -> Any:
    """The target as its task has it; what is none stays as it is, for screening. A text may come without a reply."""
    if columns.kind == "causal_lm":
        return _reply(_optional(record, columns.target))
    value = _column(record, columns.target, origin) if labelled else record.get(columns.target)
    if columns.kind == "seq2seq":
        return _reply(_optional(record, columns.target))
    return _number(value) if columns.kind == "regression" else _label(value)


def wanted_columns(names: Sequence[Any], columns: TaskConfig, origin: str, *, labelled: bool = True) -> list[str]:
    """Which columns of a table are read; a column that has to be there and is not, or is there twice, is an error.

    Raises
    ------
    DataError
        ``origin``, the table, is named.

    Examples
    --------
    >>> wanted_columns(["id", "text", "label"], TaskConfig(input="text"), "day.parquet")
    ['text', 'label']
    >>> wanted_columns(["id", "text"], TaskConfig(input="text", id="id"), "day.parquet", labelled=False)
    ['text', 'id']
    """
    for name, times in Counter(names).items():
        if times > 1:
            raise DataError(
                f"{origin}: two columns are called {name!r}", remedy="rename one of them", kind="data.column"
            )
    inputs = [columns.input] if isinstance(columns.input, str) else columns.input
    others = [columns.target, columns.id, columns.slice, columns.weight, columns.time]
    configured = [name for name in (*inputs, *others) if name]
    record = dict.fromkeys(names)
    optional = {columns.target} - set(inputs) if columns.kind == "causal_lm" else set()
    for name in configured if labelled else inputs:
        if name not in optional:
            _column(record, name, origin)
    return [name for name in dict.fromkeys(configured) if name in record]


def _check_optional(record: Mapping[str, Any], columns: TaskConfig, origin: str) -> None:
    for name in (columns.id, columns.slice, columns.weight, columns.time):
        if name is not None:
            _column(record, name, origin)


def _optional(record: Mapping[str, Any], name: str | None) -> Any:
    """A column's value, None where the column is absent or empty."""
    value = _plain(record.get(name)) if name else None
    return None if isinstance(value, str) and not value else value


def _text(record: Mapping[str, Any], name: str | None, origin: str) -> str | None:
    value = _optional(record, name)
    if value is None or (isinstance(value, float) and math.isnan(value)):  # a missing value in a table of numbers
        return None
    if hasattr(value, "__len__") and not isinstance(value, str):
        raise unreadable(origin, f"column {name!r} is not a single value: {record_excerpt(value)}")
    text = str(value)
    if _SURROGATE.search(text):
        raise unreadable(origin, f"column {name!r} holds half a character: {record_excerpt(text)}")
    return text


def _column(record: Mapping[str, Any], name: str, origin: str) -> Any:
    try:
        return record[name]
    except KeyError:
        raise DataError(
            f"{origin} has no column {name!r}, only {_listed(record)}",
            remedy=_column_remedy(record, name),
            kind="data.column",
        ) from None


def _column_remedy(record: Mapping[str, Any], name: str) -> str:
    names = [key for key in itertools.islice(record, 1000) if isinstance(key, str)]
    if remedy := separator_remedy(names):
        return remedy
    alike = [key for key in names if key.strip().casefold() == name.strip().casefold()]
    if alike:
        return f"rename {alike[0]!r}, which differs in spaces or case"
    return "rename it, or name the right one: task.input, task.target ... in dripstone.toml, --input at init"


def separator_remedy(names: Sequence[str]) -> str | None:
    """What to do where the only column's name looks like a header that commas do not separate; else None.

    Examples
    --------
    >>> separator_remedy(["text;label"])
    'the file looks separated by semicolons; save it with commas'
    """
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            return f"the file looks separated by {word}; save it with commas"
    return None


def _listed(record: Mapping[str, Any]) -> str:
    names = [record_excerpt(name) for name in itertools.islice(record, 20)]
    more = f" and {len(record) - len(names)} more" if len(record) > len(names) else ""
    return ", ".join(names) + more if names else "nothing"


def to_inputs(value: Any, origin: str) -> Inputs:
    """A text as it is; numbers, nested lists, arrays and tensors as a float32 array of at least one dimension.

    A picture of Pillow becomes [height, width] with one channel and [channels, height, width] with more, its numbers
    as they are (0 to 255 in most); one with a palette becomes red, green and blue.

    Raises
    ------
    DataError
        If it is neither; ``origin`` is named.

    Examples
    --------
    >>> from PIL import Image
    >>> to_inputs(Image.new("RGB", (4, 2)), "row 1").shape
    (3, 2, 4)
    """
    return str.__str__(value) if isinstance(value, str) else _array(value, origin)


def _vector(values: list[Any], names: list[str], origin: str) -> np.ndarray:
    """One number a column; an empty cell is NaN, which screening rejects."""
    values = [math.nan if value is None or value == "" else value for value in values]
    try:
        return _float32(np.array([float(value) for value in values]))
    except (TypeError, ValueError, OverflowError):
        bad = next(name for name, value in zip(names, values, strict=True) if not _is_number(value))
        raise unreadable(
            origin, f"column {bad!r} is not a number: {record_excerpt(values[names.index(bad)])}"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _array(value: Any, origin: str) -> np.ndarray:
    if any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__):
        value = _from_picture(value, origin)
    try:
        array = np.asarray(_from_torch(value) if hasattr(value, "detach") else value)
        if array.dtype.kind == "O" and all(isinstance(number, numbers.Number) for number in array.flat):
            array = array.astype(np.float64)  # integers beyond 64 bits, decimal numbers
        if array.dtype.kind not in "fiub":
            raise ValueError("not numeric")
        return np.atleast_1d(_float32(array))
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch has RuntimeError for what it cannot convert
        raise unreadable(origin, f"the input is neither a text nor numbers: {record_excerpt(value)}") from None


def _from_torch(tensor: Any) -> np.ndarray:
    values = tensor.detach().cpu()
    return (values if values.is_complex() else values.float()).numpy()  # numpy has no bfloat16


def _from_picture(picture: Any, origin: str) -> np.ndarray:
    try:
        array = np.asarray(picture.convert("RGB") if picture.mode in ("P", "PA") else picture)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow has for files that are cut or damaged
        raise unreadable(origin, f"the picture cannot be read: {error}") from None
    return np.moveaxis(array, -1, 0) if array.ndim == 3 else array


def _float32(array: np.ndarray) -> np.ndarray:
    # A number too large for float32 becomes infinite here, and screening then says so.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _plain(value: Any) -> Any:
    """numpy's and torch's scalars and members of enumerations as Python's own; the rest is judged later."""
    if hasattr(value, "item") and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _label(value: Any) -> Any:
    """A label; white space around a text makes no other label of it, and a database's whole number is an integer."""
    plain = _plain(value)
    if isinstance(plain, Decimal) and plain.as_tuple().exponent == 0:
        return int(plain)
    return plain.strip() if isinstance(plain, str) else plain


def _reply(value: Any) -> Any:
    return Reply(value) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    """A target as a float, also where a table has it as text; what is no number stays as it is, for screening."""
    plain = _plain(value)
    numeric = isinstance(plain, numbers.Number | str) and not isinstance(plain, bool) and _is_number(plain)
    return float(plain) if numeric else _label(value)


def _weight(value: Any, origin: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, numbers.Number | str) and _is_number(value):
        return float(value)  # type: ignore[arg-type]
    raise unreadable(origin, f"the weight is not a number: {record_excerpt(value)}")


def unreadable(origin: str, problem: str, kind: str = "data.value") -> DataError:
    """The error of a row or a line that cannot be read."""
    what = "line" if kind == "data.line" else "row"
    return DataError(f"{origin}: {problem}", remedy=f"mend or remove that {what}", kind=kind)


def shown_name(path: Path) -> str:
    """A file's name for messages and the ledger; bytes in it that are no text are written out."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def record_excerpt(value: Any) -> str:
    """A short form of a value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
