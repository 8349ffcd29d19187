"""``dripstone status``: where the project stands, and the next sensible command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from dripstone.core.records import count
from dripstone.view.commands.show import read_certificate, voucher
from dripstone.view.options import format_option, open_store
from dripstone.view.output import Output, fields, known, moment, plain, short

if TYPE_CHECKING:
    from dripstone.core.records import LogEntry, Update
    from dripstone.store.repository import Repository


@click.command("status")
@format_option
@click.pass_obj
def command(project: str, format: str) -> None:
    """What is live, pending, quarantined; how many rows a decision needs; what to do next."""
    config, repository = open_store(project)
    begin = "dripstone" if project == "." else f"dripstone -C {shlex.quote(project)}"
    status = read_status(repository, config.gate.alpha, begin)
    Output(format).data(status, _to_text(status))


def _to_text(status: dict[str, Any]) -> str:
    needed, last = status["rows_needed"], status["last"]
    certificate = status["certificate"]
    values = {
        "live": f"{short(status['version'])}, {known(status['task'], status['labels'])}",
        "vouched for": plain(voucher(certificate)) if certificate else "nobody: a server would not take it",
        "best so far": short(status["anchor"]),
        "tested": f"{count(status['tested'], 'candidate')} for gain, alpha {status['alpha_spent']:.3g} of "
        f"{status['alpha']:g} spent",
        "log": f"entry {status['number']}, {moment(status['time'])} UTC",
        "last update": f"{last['verdict']}: {last['reason']}" if last else "none yet",
        **({"drift": "; ".join(status["drift"])} if status["drift"] else {}),
        "pending": count(status["pending"], "row")
        + (f"; about {count(needed, 'more labelled row')} would decide" if needed else ""),
        "quarantined": count(status["quarantined"], "row"),
    }
    # The command stays in one line, to be copied.
    return f"{fields(values)}\n{'next':<11}  {status['next']}"


def read_status(repository: Repository, alpha: float, dripstone: str = "dripstone") -> dict[str, Any]:
    """The facts, as the JSON form has them.

    ``alpha`` is what the store may spend over its life, ``dripstone`` how the next command begins.
    """
    head = repository.log.head()
    manifest = repository.manifest(head.version)
    book = repository.read_book(head.book) if head.book else None
    pending = len(book.pending) if book else 0
    quarantined = sum(len(group.indices) for group in book.quarantined) if book else 0
    last = next((entry for entry in repository.log.entries() if entry.event == "update"), None)
    report = _report(repository, last) if last is not None else None
    tested = book.tested if book else 0
    certificate = read_certificate(repository, head.version)
    cut_short = [deed.number for deed in repository.deeds.unfinished().values()]
    waiting = pending and last is not None and last.verdict == "undecided" and report is not None
    return {
        "version": head.version,
        "number": head.number,
        "time": head.time,
        "certificate": certificate,
        "anchor": certificate["next_anchor"] if certificate else None,
        "tested": tested,
        "alpha": alpha,
        "alpha_spent": alpha * tested / (tested + 1),  # the sum of alpha/(k(k+1)) so far
        "task": manifest.task,
        "labels": len(manifest.labels),
        "pending": pending,
        "quarantined": quarantined,
        "rows_needed": report.evidence.rows_needed if waiting and report is not None else None,
        "last": None if last is None else {"number": last.number, "verdict": last.verdict, "reason": last.reason},
        "drift": report.drift.words if report is not None and report.drift is not None else [],
        "cut_short": cut_short,
        "next": _next(dripstone, head.number, pending, quarantined, cut_short),
    }


def _report(repository: Repository, entry: LogEntry) -> Update | None:
    if entry.candidate is None:
        return None
    return repository.read_record(entry.candidate, entry.number, entry.nonce)


def _next(dripstone: str, number: int, pending: int, quarantined: int, cut_short: list[int]) -> str:
    if cut_short:
        return f"{dripstone} update FILE, which deletes what log entry {cut_short[0]} unlearned: that was cut short"
    if number == 1:
        return f"{dripstone} update FILE"
    if quarantined:
        return f"{dripstone} data list, then admit or drop the quarantined rows"
    if pending:
        return f"{dripstone} update FILE, with more labelled rows; or {dripstone} data drop the waiting ones"
    return f"{dripstone} serve, or {dripstone} update FILE"
