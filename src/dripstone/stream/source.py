"""One door for every source: a path, several paths, or Python objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dripstone.core.config import TaskConfig
from dripstone.core.errors import DataError
from dripstone.core.examples import Example
from dripstone.stream.csv import read_csv
from dripstone.stream.jsonl import read_jsonl
from dripstone.stream.objects import read_objects

READERS: dict[str, Callable[..., Iterator[Example]]] = {".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv}

Source = str | os.PathLike[str] | Iterable[Any]


def read(source: Source, columns: TaskConfig, *, labelled: bool = True) -> Iterator[Example]:
    """Yield the examples of a source.

    Parameters
    ----------
    source : path, iterable of paths, or iterable of mappings
        Files are read by their ending: ``.jsonl``, ``.ndjson``, ``.csv``. An iterable is drawn to its end first.
    columns : TaskConfig
        Which column means what.
    labelled : bool
        False lets the target column be absent.

    Raises
    ------
    DataError
        If a file is missing, empty, of an unknown kind or unreadable, or a source yields nothing.
    """
    if isinstance(source, str | os.PathLike):
        yield from _read_file(Path(source), columns, labelled)
        return
    if isinstance(source, Mapping):
        raise DataError("a single mapping is not a source", remedy="send a list of rows", kind="data.row")
    empty = True
    for item in _pieces(source, columns, labelled):
        empty = False
        yield item
    if empty:
        raise DataError("the source holds no rows", remedy="send at least one row", kind="data.empty")


def _pieces(source: Iterable[Any], columns: TaskConfig, labelled: bool) -> Iterator[Example]:
    items = list(source)
    if items and all(isinstance(item, str | os.PathLike) for item in items):
        for path in items:
            yield from _read_file(Path(path), columns, labelled)
    else:
        yield from read_objects(items, columns, labelled=labelled)


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


def _reader(path: Path) -> Callable[..., Iterator[Example]]:
    if path.is_dir():
        raise DataError(f"{path} is a folder", remedy="name the files in it", kind="data.missing")
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        raise DataError(f"{path}: files ending in {path.suffix!r} are not read", remedy=f"send one of {known}")
    if not path.is_file():
        raise DataError(f"there is no file {path}", remedy="check the path", kind="data.missing")
    return READERS[path.suffix.lower()]
