"""Does a certificate vouch for all that was ever live, and does what the certificates say agree with the ledger?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from dripstone.core.examples import ids_digest
from dripstone.core.records import Certificate, LogEntry, RowSet
from dripstone.store.certificates import uncertified, why_not_live
from dripstone.store.checks import attempt, corrupt
from dripstone.store.ledger import Page
from dripstone.store.redaction import was

if TYPE_CHECKING:
    from dripstone.store.repository import Repository

CACHED_PAGES = 64
"""Pages whose ids are in memory at once; pending rows come from the pages right before."""

SOURCES = {
    "init": ("first", "gate"),
    "update": ("gate",),
    "promote": ("person",),
    "grow": ("champion",),
    "unlearn": ("person",),
    "revert": (),
    "data": (),
}
"""Who may write a new certificate for what an entry of this kind makes live; the others copy one."""

Steps = Sequence[tuple[LogEntry | None, LogEntry]]
"""Each entry with the one before it, None where that cannot be read."""


def certificate_problems(repository: Repository, entries: Sequence[LogEntry]) -> Iterator[str]:
    """Problems of the certificates that log entries name, or should name.

    Parameters
    ----------
    repository : Repository
        The store. It is only read.
    entries : sequence of LogEntry
        Those that are sound, oldest first.

    Yields
    ------
    str
        What is wrong, and what to do about it. Entries from before there were certificates are a problem only where
        they made a version live that no certificate vouches for until today.
    """
    reader = _Reader(repository)
    by_number = {entry.number: entry for entry in entries}
    steps = [(by_number.get(entry.number - 1), entry) for entry in entries]
    yield from _uncertified_problems(entries)
    yield from _live_problems(reader, steps)
    yield from _judged_problems(reader, steps)
    yield from _alpha_problems(reader, steps)


class _Reader:
    """Reads what certificates speak of; most entries speak of the same few things."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.certificate = lru_cache(maxsize=4096)(self._certificate)
        self._named = lru_cache(maxsize=None)(self._read_names)
        self._ids = lru_cache(maxsize=CACHED_PAGES)(self._read_ids)

    def _certificate(self, version: str, digest: str) -> tuple[Certificate | None, list[str]]:
        return attempt(self.repository.read_certificate, version, digest)

    def judged(self, entry: LogEntry) -> Certificate | None:
        """The certificate of an entry's candidate, None where there is none to read."""
        if entry.candidate is None or entry.judged is None:
            return None
        return self.certificate(entry.candidate, entry.judged)[0]

    def merkle(self, version: str) -> str | None:
        """None for a manifest that cannot be read: `find_problems` tells of it where it reads all manifests."""
        return self._named(version)[0]

    def parent(self, version: str) -> str | None:
        """The same of the version that it came from."""
        return self._named(version)[1]

    def descends(self, version: str, parent: str | None) -> bool:
        """Whether a version comes from another one, as far as manifests can be read."""
        line: set[str | None] = {version}
        while (above := self.parent(version)) is not None and above not in line:
            line.add(above)
            version = above
        return parent in line or self.merkle(version) is None

    def _read_names(self, version: str) -> tuple[str | None, str | None]:
        manifest, _ = attempt(self.repository.manifest, version)
        return (manifest.merkle, manifest.parent) if manifest is not None else (None, None)

    def _read_ids(self, page: str) -> list[str]:
        return [row.id for row in self.repository.read_page(page).rows]

    def fresh(self, name: str) -> tuple[RowSet, int]:
        """The held-out rows of a page as a certificate has to name them, and how many were unlearned since then."""
        page = self.repository.read_page(name)
        ids = self._carried_ids(name, page) + [row.id for row in page.rows if row.role == "held_out"]
        gone = sum(was("held_out", row) for row in page.rows) + sum(was("held_out", item) for item in page.carried)
        return RowSet(len(ids), ids_digest(ids)), gone

    def _carried_ids(self, name: str, page: Page) -> list[str]:
        ids = []
        for item in page.carried:
            if item.role == "held_out":
                there = self._ids(item.page)
                if not 0 <= item.index < len(there):
                    raise corrupt(
                        f"ledger page {name[:12]} carries row {item.index} of {item.page[:12]}, which has none"
                    )
                ids.append(there[item.index])
        return ids


def _problem(entry: LogEntry, text: str) -> str:
    return str(corrupt(f"log entry {entry.number} {text}"))


def _uncertified_problems(entries: Sequence[LogEntry]) -> Iterator[str]:
    """A version once: what counts is the last entry with it, since a person may have vouched for it later."""
    for version, entry in {entry.version: entry for entry in entries}.items():
        if entry.certificate is None:
            yield str(uncertified(version, f"log entry {entry.number} names none"))


def _live_problems(reader: _Reader, steps: Steps) -> Iterator[str]:
    """Each entry's certificate lets its version be live, and is a new one of the right kind or a copy."""
    named: set[tuple[str, str]] = set()
    whole = True
    for before, entry in steps:
        whole = whole and (before is not None or entry.number == 1)
        if entry.certificate is None:
            continue
        certificate, problems = reader.certificate(entry.version, entry.certificate)
        yield from problems
        if certificate is not None:
            merkle = reader.merkle(entry.version)
            if merkle is not None and (why := why_not_live(certificate, merkle)):
                yield str(uncertified(entry.version, f"log entry {entry.number}: {why}"))
            if certificate.number == entry.number:
                yield from _new_problems(reader, before, entry, certificate)
            elif whole and (entry.version, entry.certificate) not in named:
                yield _problem(entry, f"names a certificate that was written for log entry {certificate.number}")
        yield from _copy_problems(before, entry)
        named.add((entry.version, entry.certificate))


def _copy_problems(before: LogEntry | None, entry: LogEntry) -> Iterator[str]:
    if entry.event in ("init", "update") and entry.version == entry.candidate:
        if entry.certificate != entry.judged:
            yield _problem(entry, "makes its candidate live by another certificate than the one it was judged with")
    elif before is None or before.version != entry.version or before.certificate is None or entry.event == "promote":
        return
    elif entry.certificate != before.certificate:
        yield _problem(entry, f"names another certificate of version {entry.version[:12]} than the entry before it")


def _new_problems(reader: _Reader, before: LogEntry | None, entry: LogEntry, certificate: Certificate) -> Iterator[str]:
    if certificate.source not in SOURCES[entry.event]:
        yield _problem(entry, f"({entry.event}) names a new certificate of source {certificate.source!r}")
    if (entry.event == "unlearn") != (certificate.verdict == "unlearned"):
        yield _problem(entry, f"({entry.event}) names a new certificate that says {certificate.verdict!r}")
    if entry.event == "unlearn" and certificate.champion is not None:
        parent = reader.parent(entry.version)
        if parent is not None and not reader.descends(certificate.champion, parent):
            yield _problem(entry, f"makes a version live that comes from {parent[:12]}, which was not live's")
    if entry.event == "grow" and reader.parent(entry.version) not in (None, certificate.champion):
        yield _problem(entry, f"makes a version live that was not grown from {certificate.champion or 'any'}")
    yield from _champion_problems(reader, before, entry, certificate)


def _champion_problems(
    reader: _Reader, before: LogEntry | None, entry: LogEntry, certificate: Certificate
) -> Iterator[str]:
    """A new certificate compares with what was live until then."""
    if certificate.champion is None or certificate.champion_merkle is None:
        return
    if before is not None and certificate.champion != before.version:
        yield _problem(
            entry, f"compares with {certificate.champion[:12]}, where version {before.version[:12]} was live"
        )
    if reader.merkle(certificate.champion) not in (None, certificate.champion_merkle):
        yield _problem(entry, f"compares with other tensors than those of version {certificate.champion[:12]}")


def _judged_problems(reader: _Reader, steps: Steps) -> Iterator[str]:
    """Each candidate since there are certificates has one that agrees with the log, the manifest and the ledger."""
    certified = False
    for before, entry in steps:
        certified = certified or entry.certificate is not None or entry.judged is not None
        if entry.judged is not None and entry.candidate is not None:
            certificate, problems = reader.certificate(entry.candidate, entry.judged)
            yield from problems
            if certificate is not None:
                yield from _judgement_problems(reader, before, entry, certificate)
                yield from _row_problems(reader, entry, certificate)
        elif entry.judged is not None:
            yield _problem(entry, "names the certificate of a candidate, and no candidate")
        elif entry.candidate is not None and certified and entry.event != "unlearn":
            yield _problem(entry, f"judged version {entry.candidate[:12]} and names no certificate that says how")


def _judgement_problems(
    reader: _Reader, before: LogEntry | None, entry: LogEntry, certificate: Certificate
) -> Iterator[str]:
    if certificate.number != entry.number:
        yield _problem(entry, f"names a judgement that was written for log entry {certificate.number}")
    if certificate.source in ("person", "champion"):
        yield _problem(entry, f"names the word of a {certificate.source} as the gate's judgement")
    if certificate.verdict != entry.verdict:
        yield _problem(entry, f"says {entry.verdict!r}, where its certificate says {certificate.verdict!r}")
    if reader.merkle(certificate.version) not in (None, certificate.merkle):
        yield _problem(entry, f"judged other tensors than those of version {certificate.version[:12]}")
    yield from _champion_problems(reader, before, entry, certificate)


def _row_problems(reader: _Reader, entry: LogEntry, certificate: Certificate) -> Iterator[str]:
    if certificate.source != "gate" and certificate.fresh == RowSet():
        return  # nobody asked: no row has judged it
    found, problems = attempt(reader.fresh, entry.page) if entry.page is not None else ((RowSet(), 0), [])
    yield from problems
    named = certificate.fresh
    if found is None:
        return
    fresh, gone = found
    if gone and named.rows == fresh.rows + gone:
        return  # which rows they were cannot be known any more
    if named.rows != fresh.rows or (named.digest != fresh.digest and named.rows > 0):
        yield _problem(
            entry,
            f"was judged on {named.rows} fresh rows that are not the {fresh.rows} held-out rows of its ledger page",
        )


def _alpha_problems(reader: _Reader, steps: Steps) -> Iterator[str]:
    """The alpha of each test is the one of its turn, the book counts the tests, and all of them keep within alpha."""
    books = _books(reader.repository)
    tested: int | None = 0
    spent = allowed = 0.0
    for before, entry in steps:
        certificate = reader.judged(entry)
        unknown = entry.candidate is not None and certificate is None and entry.event != "unlearn"
        if (before is None and entry.number > 1) or unknown:
            tested = None  # what is not there may have been a test: count on from what is said next
        if certificate is not None and certificate.rules is not None:
            tested = certificate.rules.tested if tested is None else tested
            yield from _level_problems(entry, certificate, tested)
            tested += int(certificate.evidence.alpha_spent > 0)
            spent += certificate.evidence.alpha_spent
            allowed = max(allowed, certificate.rules.alpha)
        counted = books.get(entry.book, tested)
        if tested is not None and counted != tested:
            yield _problem(entry, f"has a book that counts {counted} tests of gain; the certificates count {tested}")
        tested = counted
    if spent > allowed * (1 + 1e-9):
        yield str(
            corrupt(f"the certificates have spent an alpha of {spent:g}, more than the {allowed:g} of a lifetime")
        )


def _level_problems(entry: LogEntry, certificate: Certificate, tested: int) -> Iterator[str]:
    rules, spent = certificate.rules, certificate.evidence.alpha_spent
    assert rules is not None
    if rules.tested != tested:
        yield _problem(entry, f"was judged as if {rules.tested} candidates were tested before it; it was {tested}")
    turn = rules.tested + 1
    if spent and not math.isclose(spent, rules.alpha / (turn * (turn + 1))):
        yield _problem(entry, f"spends an alpha of {spent:g}, where test {turn} of {rules.alpha:g} has another share")


def _books(repository: Repository) -> dict[str | None, int]:
    """How many tests each kept book counts. `find_problems` tells of those that cannot be read."""
    names, _ = attempt(repository.kept_books)
    books = [(name, attempt(repository.read_book, name)[0]) for name in names or []]
    return {name: book.tested for name, book in books if book is not None}
