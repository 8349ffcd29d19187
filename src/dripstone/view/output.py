"""The one output sink: data on stdout, words for people on stderr, errors by one table."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

import click

from dripstone.core.errors import DripstoneError

INTERRUPTED = 3
BUG = 101


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
        """The command's answer, in either form."""
        if self.format == "json":
            click.echo(json.dumps(value, ensure_ascii=False))
        elif self.format == "human":
            click.echo(human)

    def note(self, text: str) -> None:
        """A word on what is going on."""
        if self.format == "human":
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """A word that a program's log should have as well."""
        if self.format != "quiet":
            click.echo(text, err=True)


def report_error(error: BaseException) -> int:
    """Tell a person what happened and return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return 2
    if isinstance(error, DripstoneError):
        click.echo(f"dripstone: {error}", err=True)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("dripstone: interrupted; nothing has changed, run the same command again", err=True)
        return INTERRUPTED
    traceback.print_exception(error, file=sys.stderr)
    click.echo(f"dripstone: a bug: {type(error).__name__}: {error}; please report the lines above", err=True)
    return BUG


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned by spaces; numbers stand to the right.

    Examples
    --------
    >>> print(table(["name", "rows"], [["a", "10"], ["bb", "9"]]))
    name  rows
    a       10
    bb       9
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    right = [all(_numeric(row[column]) for row in rows) and bool(rows) for column in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _numeric(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").replace("-", "").replace("+", "").isdigit()


def short(version: str | None) -> str:
    """The first twelve digits of a version id; a dash where there is none."""
    return version[:12] if version else "-"
