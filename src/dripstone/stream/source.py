"""One door for every source: a path, several paths, tables, data sets, or Python objects."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.arrow import is_arrow, read_arrow, read_arrow_object
from dripstone.stream.columns import record_excerpt
from dripstone.stream.csv import read_csv
from dripstone.stream.datasets import is_dataset, read_dataset
from dripstone.stream.frames import is_frame, read_frame
from dripstone.stream.jsonl import read_jsonl
from dripstone.stream.objects import read_objects
from dripstone.stream.parquet import read_parquet

Reader = Callable[..., Iterator[Example]]

READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
"""By the ending of a file's name."""

OBJECT_READERS: list[tuple[Callable[[object], bool], Reader]] = [
    (is_frame, read_frame),  # most frames have Arrow's stream as well, and need pyarrow for that
    (is_arrow, read_arrow_object),
    (is_dataset, read_dataset),  # of torch's kind is whatever has items, Arrow's tables too
]
"""By what an object is; the first that knows it."""

Source = str | os.PathLike[str] | Iterable[Any] | Any
"""What ``read`` takes. Data sets, frames and tables have no type in common, and their libraries are optional."""

_OTHER_REMEDIES = {
    "DataLoader": "send loader.dataset: rows, not batches",
    "DatasetDict": "send one of its splits",
    "IterableDatasetDict": "send one of its splits",
}


def read(source: Source, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a source, as they are asked for: memory is bounded whatever its length.

    Parameters
    ----------
    source : path, iterable of paths, iterable of mappings, data set, data frame or Arrow object
        Files are read by their ending: ``.jsonl``, ``.ndjson``, ``.csv``; with the extra ``parquet`` also ``.parquet``,
        ``.arrow`` and ``.feather``. Data sets are those of torch and of Hugging Face; frames are of any library that
        narwhals knows, with the extra ``frames``; Arrow objects are tables, batches, readers and data sets of pyarrow,
        and whatever else has Arrow's C stream.
    columns : TaskConfig
        Which column means what.
    labelled : bool
        False lets the target column be absent.

    Raises
    ------
    DataError
        If a file is missing, empty, of an unknown kind or unreadable, an object is no source, or it yields nothing.
    UsageError
        If an extra is not installed.

    Examples
    --------
    >>> rows = read(({"inputs": [number], "label": "ab"[number % 2]} for number in range(10**9)), TaskConfig())
    >>> next(rows).target, next(rows).target
    ('a', 'b')
    """
    if isinstance(source, str | os.PathLike):
        yield from _read_file(Path(source), columns, labelled)
        return
    empty = True
    for example in _read_object(source, columns, labelled):
        empty = False
        yield example
    if empty:
        raise DataError("the source holds no rows", remedy="send at least one row", kind="data.empty")


def _read_object(source: Any, columns: TaskConfig, labelled: bool) -> Iterator[Example]:
    for recognises, reader in OBJECT_READERS:
        if recognises(source):
            return reader(source, columns, labelled=labelled)
    return _read_items(_items(source), columns, labelled)


def _items(source: Any) -> Iterator[Any]:
    name = type(source).__name__
    if remedy := _OTHER_REMEDIES.get(name):
        raise DataError(f"a {name} is not a source", remedy=remedy, kind="data.row")
    if isinstance(source, Mapping):
        raise DataError("a single mapping is not a source", remedy="send a list of rows", kind="data.row")
    try:
        return iter(source)
    except TypeError:
        raise DataError(
            f"{record_excerpt(source)}, of type {name}, is not a source",
            remedy="send a path, rows, a data frame, an Arrow table or a data set",
            kind="data.row",
        ) from None


def _read_items(items: Iterator[Any], columns: TaskConfig, labelled: bool) -> Iterator[Example]:
    """Paths or rows; the first item decides."""
    first = list(itertools.islice(items, 1))
    items = itertools.chain(first, items)
    if not first or not isinstance(first[0], str | os.PathLike):
        yield from read_objects(items, columns, labelled=labelled)
        return
    for number, item in enumerate(items, start=1):
        if not isinstance(item, str | os.PathLike):
            raise DataError(
                f"item {number} is not a path, as those before it are: {record_excerpt(item)}",
                remedy="send paths alone, or rows alone",
                kind="data.row",
            )
        yield from _read_file(Path(item), columns, labelled)


def _read_file(path: Path, columns: TaskConfig, labelled: bool) -> Iterator[Example]:
    empty = True
    try:
        reader = _reader(path)
        for example in reader(path, columns, labelled=labelled):
            empty = False
            yield example
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", remedy="check its name and permissions") from None
    if empty:
        raise DataError(f"{path} holds no rows", remedy="send at least one row", kind="data.empty")


def _reader(path: Path) -> Reader:
    if path.is_dir():
        raise DataError(f"{path} is a folder", remedy="name the files in it", kind="data.missing")
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"{path}: files ending in {path.suffix!r} are not read", remedy=f"send one of {known}")
    if not path.is_file():
        raise DataError(f"there is no file {path}", remedy="check the path", kind="data.missing")
    return READERS[path.suffix.lower()]
