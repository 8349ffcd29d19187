"""The one output sink: data on stdout, words for people on stderr, errors by one table."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import traceback
import unicodedata
from collections.abc import Mapping
from typing import Any, TextIO

import click

from dripstone.core.errors import DripstoneError, UsageError

INTERRUPTED = 3
BUG = 101
MAX_WIDTH = 100
SHOWN = 60


class Output:
    """Prints in the chosen format.

    Parameters
    ----------
    format : str
        ``human`` (text), ``json`` (one JSON value on stdout, for programs), ``quiet`` (nothing but errors).
    """

    def __init__(self, format: str) -> None:
        self.format = format

    def data(self, value: Any, human: str) -> None:
        """The command's answer, in either form.

        Raises
        ------
        UsageError
            If stdout cannot be written, as on a full disk.
        """
        if self.format == "json":
            # UTF-8 whatever the terminal speaks; half a character becomes the escape that JSON has for it.
            _write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"), sys.stdout)
        elif self.format == "human":
            _write(human, sys.stdout)

    def note(self, text: str) -> None:
        """A word on what is going on."""
        if self.format == "human":
            _write(text, sys.stderr)

    def warn(self, text: str) -> None:
        """A word that a program's log should have as well."""
        if self.format != "quiet":
            _write(text, sys.stderr)


def _write(text: str | bytes, stream: TextIO) -> None:
    try:
        click.echo(text, file=stream)
    except BrokenPipeError:
        # Whoever read it has had enough (head, less). The exit code still tells how the command ended.
        _close(stream)
    except OSError as error:
        _close(stream)
        name = stream.name.strip("<>")
        raise UsageError(f"{name} cannot be written: {error.strerror}", remedy="send it elsewhere") from None


def _close(stream: TextIO) -> None:
    """Let what follows go nowhere, also what the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def report_error(error: BaseException) -> int:
    """Tell a person what happened and return the exit code."""
    try:
        _tell(error)
    except BrokenPipeError:
        _close(sys.stderr)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(error, DripstoneError):
        return error.exit_code
    return 2 if isinstance(error, click.ClickException) else BUG


def _tell(error: BaseException) -> None:
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, DripstoneError):
        click.echo(f"dripstone: {error}", err=True)
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        unless = "unless 'dripstone log' has a new entry nothing has changed"
        click.echo(f"dripstone: interrupted; {unless}, run the same command again", err=True)
    else:
        traceback.print_exception(error, file=sys.stderr)
        click.echo(f"dripstone: a bug: {type(error).__name__}: {error}; please report the lines above", err=True)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned by spaces; numbers stand to the right.

    Examples
    --------
    >>> print(table(["name", "rows"], [["a", "10"], ["bb", "9"]]))
    name  rows
    a       10
    bb       9
    """
    lines = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    right = [bool(rows) and all(map(_numeric, column[1:])) for column in zip(*lines, strict=True)]
    padded = [
        [
            " " * (width - _width(cell)) + cell if flush else cell + " " * (width - _width(cell))
            for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _numeric(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").replace("-", "").replace("+", "").isdigit()


def _width(text: str) -> int:
    """Columns on a terminal: a Chinese character takes two, an accent that is a character of its own none."""
    if text.isascii():
        return len(text)
    return sum((unicodedata.east_asian_width(c) in "WF") + 1 for c in text if not unicodedata.combining(c))


def plain(text: str) -> str:
    """Text that came with the data, without what would move a terminal's cursor or change its colours.

    Examples
    --------
    >>> print(plain("two" + chr(10) + "lines"))
    two\\nlines
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def excerpt(value: Any) -> str:
    """A text in one line, cut where it is long; anything else as it is written.

    Examples
    --------
    >>> excerpt(" two" + chr(10) + "lines"), excerpt(3), len(excerpt("x" * 100))
    ('two lines', '3', 60)
    """
    line = " ".join(value.split()) if isinstance(value, str) else str(value)
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def fields(values: Mapping[str, str], indent: str = "") -> str:
    """Names and values, a line each; a value that is too long goes on under its own beginning.

    Examples
    --------
    >>> print(fields({"live": "5adcec6de508", "pending": "5 rows"}))
    live     5adcec6de508
    pending  5 rows
    """
    width = max(map(len, values)) + 2
    return "\n".join(wrap(plain(value), f"{indent}{name:<{width}}") for name, value in values.items())


def wrap(text: str, first: str = "", rest: str | None = None) -> str:
    """Text in lines that fit the terminal: the first begins with ``first``, the others with as many spaces."""
    columns = min(shutil.get_terminal_size((MAX_WIDTH, 24)).columns, MAX_WIDTH)
    later = " " * len(first) if rest is None else rest
    lines = textwrap.wrap(text, max(columns, 40), initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    return "\n".join(lines) or first.rstrip()


def short(version: str | None) -> str:
    """The first twelve digits of a version id; a dash where there is none."""
    return version[:12] if version else "-"


def moment(time: str) -> str:
    """A record's time, which is UTC, as a person reads it.

    Examples
    --------
    >>> moment("2026-01-31T08:35:54+00:00")
    '2026-01-31 08:35:54'
    """
    return time[:19].replace("T", " ")


def known(task: str, labels: int) -> str:
    """What a version knows: how many labels, or a number.

    Examples
    --------
    >>> known("classification", 3), known("regression", 1), known("causal_lm", 0)
    ('3 labels', 'a number', 'no text yet')
    """
    if task != "classification":
        what = {"regression": "number", "seq2seq": "reply"}.get(task, "text")
        return f"a {what}" if labels else f"no {what} yet"
    from dripstone.core.records import count

    return count(labels, "label")
