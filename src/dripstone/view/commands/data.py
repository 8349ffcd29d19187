"""``dripstone data``: rows that wait for a decision."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from dripstone.core.errors import UsageError
from dripstone.core.examples import plain_target
from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, excerpt, plain, table, wrap

if TYPE_CHECKING:
    from dripstone.store.repository import Repository

ID_DIGITS = 12
MIN_DIGITS = 4


@click.group("data")
def command() -> None:
    """Pending and quarantined rows."""


def _chooser(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.argument("ids", nargs=-1, metavar="[ID]...")(function)
    function = click.option("--update", "number", type=int, metavar="N", help="All rows set aside by entry N.")(
        function
    )
    return click.option("--all", "everything", is_flag=True, help="All of them.")(function)


@command.command("list")
@format_option
@click.pass_obj
def list_rows(project: str, format: str) -> None:
    """Every pending and quarantined row, with the reason."""
    _, repository = open_store(project)
    rows = list(waiting_rows(repository))
    value = [{key: row[key] for key in ("id", "status", "number", "target", "origin", "reason")} for row in rows]
    Output(format).data(value, _to_text(rows))


def _to_text(rows: list[dict[str, Any]]) -> str:
    """Rows that one entry set aside for one reason stand together under it."""
    groups: dict[tuple[str, int, str], list[list[str]]] = {}
    for row in rows:
        place = groups.setdefault((row["status"], row["number"], row["reason"]), [])
        place.append([row["id"][:ID_DIGITS], excerpt(row["target"]), row["origin"]])
    parts = [
        f"{count(len(found), 'row')} {status} since entry {number}\n{wrap(plain(reason), '  ')}\n"
        + textwrap.indent(table(["id", "target", "origin"], found), "  ")
        for (status, number, reason), found in groups.items()
    ]
    return "\n\n".join(parts) or "no row is waiting"


@command.command("admit")
@_chooser
@format_option
@click.pass_obj
def admit_rows(project: str, ids: tuple[str, ...], number: int | None, everything: bool, format: str) -> None:
    """Quarantined rows become pending; the next update learns from them."""
    from dripstone.update.moves import admit

    _move(project, admit, "quarantined", ids, number, everything, format)


@command.command("drop")
@_chooser
@format_option
@click.pass_obj
def drop_rows(project: str, ids: tuple[str, ...], number: int | None, everything: bool, format: str) -> None:
    """Forget rows; the ledger still shows that they came."""
    from dripstone.update.moves import drop

    _move(project, drop, None, ids, number, everything, format)


def _move(
    project: str,
    move: Callable[..., Any],
    status: str | None,
    ids: tuple[str, ...],
    number: int | None,
    everything: bool,
    format: str,
) -> None:
    if not (ids or number is not None or everything):
        raise UsageError("no row is named", remedy="name ids, or use --update N or --all")
    _, repository = open_store(project)
    rows = [row for row in waiting_rows(repository) if status in (None, row["status"])]
    named = {full for given in ids for full in _find_id(given, rows, status)}
    chosen = [row["place"] for row in rows if everything or row["number"] == number or row["id"] in named]
    entry = move(repository, chosen)
    Output(format).data({"number": entry.number, "rows": len(chosen), "reason": entry.reason}, entry.reason)


def _find_id(given: str, rows: list[dict[str, Any]], status: str | None) -> set[str]:
    """The id that a person means: a whole one, or the first digits (4 at least) of one alone."""
    ids = {row["id"] for row in rows}
    if given in ids:
        return {given}
    found = {full for full in ids if full.startswith(given)} if len(given) >= MIN_DIGITS else set()
    if not found:
        raise UsageError(
            f"no {status or 'waiting'} row has the id {given!r}",
            remedy="see 'dripstone data list' for the rows that are waiting",
            kind="usage.rows",
        )
    if len(found) > 1:
        raise UsageError(f"{given!r} fits the ids of {len(found)} rows", remedy="give more digits", kind="usage.rows")
    return found


def waiting_rows(repository: Repository) -> Iterator[dict[str, Any]]:
    """Rows of the book: place, id, status, number of the entry, label, origin, reason."""
    head = repository.log.head()
    if not head.book:
        return
    book = repository.read_book(head.book)
    for item in book.pending:
        reason = "admitted by a person" if item.admitted else "waits for more evidence"
        yield _row((item.page, item.index), item.row, "pending", item.number, reason)
    for group in book.quarantined:
        page = repository.read_page(group.page)
        for index in group.indices:
            yield _row((group.page, index), page.rows[index], "quarantined", group.number, group.reason)


def _row(place: tuple[str, int], row: Any, status: str, number: int, reason: str) -> dict[str, Any]:
    return {
        "place": place,
        "id": row.id,
        "status": status,
        "number": number,
        "target": plain_target(row.target),
        "origin": row.origin,
        "reason": reason,
    }
