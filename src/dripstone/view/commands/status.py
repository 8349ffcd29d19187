"""``dripstone status``: where the project stands, and the next sensible command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, short

if TYPE_CHECKING:
    from dripstone.core.records import LogEntry, Update
    from dripstone.store.repository import Repository


@click.command("status")
@format_option
@click.pass_obj
def command(project: str, format: str) -> None:
    """What is live, pending, quarantined; how many rows a decision needs; what to do next."""
    _, repository = open_store(project)
    status = read_status(repository)
    needed = status["rows_needed"]
    lines = [
        f"live         {short(status['version'])}, entry {status['number']} of {status['time']}, "
        f"{status['labels']} labels",
        f"pending      {status['pending']} rows" + (f"; about {needed} more labelled rows decide" if needed else ""),
        f"quarantined  {status['quarantined']} rows",
        f"next         {status['next']}",
    ]
    Output(format).data(status, "\n".join(lines))


def read_status(repository: Repository) -> dict[str, Any]:
    """The facts, as the JSON form has them."""
    head = repository.log.head()
    book = repository.read_book(head.book) if head.book else None
    pending = len(book.pending) if book else 0
    quarantined = sum(len(group.indices) for group in book.quarantined) if book else 0
    last = next((entry for entry in repository.log.entries() if entry.event == "update"), None)
    report = _report(repository, last) if last is not None else None
    waiting = pending and last is not None and last.verdict == "undecided" and report is not None
    return {
        "version": head.version,
        "number": head.number,
        "time": head.time,
        "labels": len(repository.manifest(head.version).labels),
        "pending": pending,
        "quarantined": quarantined,
        "rows_needed": report.evidence.rows_needed if waiting and report is not None else None,
        "last": None if last is None else {"number": last.number, "verdict": last.verdict, "reason": last.reason},
        "next": _next(head.number, pending, quarantined),
    }


def _report(repository: Repository, entry: LogEntry) -> Update | None:
    if entry.candidate is None:
        return None
    return repository.read_record(entry.candidate, entry.number, entry.nonce)


def _next(number: int, pending: int, quarantined: int) -> str:
    if number == 1:
        return "dripstone update FILE"
    if quarantined:
        return "dripstone data list, then admit or drop the quarantined rows"
    if pending:
        return "dripstone update FILE, with more labelled rows"
    return "dripstone serve, or dripstone update FILE"
