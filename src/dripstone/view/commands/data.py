"""``dripstone data``: rows that wait for a decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from dripstone.core.errors import UsageError
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short, table

if TYPE_CHECKING:
    from dripstone.store.repository import Repository


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
    shown = [[row["status"], str(row["number"]), short(row["id"]), str(row["target"]), row["reason"]] for row in rows]
    human = table(["status", "entry", "id", "label", "reason"], shown) if rows else "no row is waiting"
    value = [{key: row[key] for key in ("id", "status", "number", "target", "origin", "reason")} for row in rows]
    Output(format).data(value, human)


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
    chosen = [
        row["place"]
        for row in waiting_rows(repository)
        if status in (None, row["status"])
        and (everything or row["number"] == number or any(row["id"].startswith(given) for given in ids))
    ]
    entry = move(repository, chosen)
    Output(format).data({"number": entry.number, "rows": len(chosen), "reason": entry.reason}, entry.reason)


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
        "target": row.target,
        "origin": row.origin,
        "reason": reason,
    }
