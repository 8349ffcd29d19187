"""``dripstone status``: where the project stands, and the next sensible command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from dripstone.core.records import count
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, fields, moment, short

if TYPE_CHECKING:
    from dripstone.core.records import LogEntry, Update
    from dripstone.store.repository import Repository


@click.command("status")
@format_option
@click.pass_obj
def command(project: str, format: str) -> None:
    """What is live, pending, quarantined; how many rows a decision needs; what to do next."""
    _, repository = open_store(project)
    status = read_status(repository, "dripstone" if project == "." else f"dripstone -C {shlex.quote(project)}")
    Output(format).data(status, _to_text(status))


def _to_text(status: dict[str, Any]) -> str:
    needed, last = status["rows_needed"], status["last"]
    values = {
        "live": f"{short(status['version'])}, {count(status['labels'], 'label')}",
        "log": f"entry {status['number']}, {moment(status['time'])} UTC",
        "last update": f"{last['verdict']}: {last['reason']}" if last else "none yet",
        "pending": count(status["pending"], "row")
        + (f"; about {count(needed, 'more labelled row')} would decide" if needed else ""),
        "quarantined": count(status["quarantined"], "row"),
    }
    # The command stays in one line, to be copied.
    return f"{fields(values)}\n{'next':<11}  {status['next']}"


def read_status(repository: Repository, dripstone: str = "dripstone") -> dict[str, Any]:
    """The facts, as the JSON form has them; ``dripstone`` is how the next command begins."""
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
        "next": _next(dripstone, head.number, pending, quarantined),
    }


def _report(repository: Repository, entry: LogEntry) -> Update | None:
    if entry.candidate is None:
        return None
    return repository.read_record(entry.candidate, entry.number, entry.nonce)


def _next(dripstone: str, number: int, pending: int, quarantined: int) -> str:
    if number == 1:
        return f"{dripstone} update FILE"
    if quarantined:
        return f"{dripstone} data list, then admit or drop the quarantined rows"
    if pending:
        return f"{dripstone} update FILE, with more labelled rows; or {dripstone} data drop the waiting ones"
    return f"{dripstone} serve, or {dripstone} update FILE"
