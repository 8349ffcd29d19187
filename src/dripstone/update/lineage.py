"""Where a version comes from: its ancestors, and the rows they were trained and judged on. Reads the store only."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from dripstone.core.errors import StoreError
from dripstone.core.records import Certificate, LogEntry, Look
from dripstone.store.ledger import Book, PageRow, short_hash
from dripstone.store.repository import Repository

Place = tuple[str, int]
"""A row's ledger page and its index there."""

LEARNED_ROLES = ("train", "held_out")


def ancestors(repository: Repository, version: str) -> list[str]:
    """The version and those it was trained from, oldest first."""
    line = [version]
    while (parent := repository.manifest(line[-1]).parent) is not None:
        line.append(parent)
    return line[::-1]


def read_rows(repository: Repository, places: Sequence[Place]) -> list[PageRow]:
    """Rows by their places; each page is read once.

    Raises
    ------
    StoreError
        If a page is missing or damaged, or has no row of that index.
    """
    pages = {name: repository.read_page(name).rows for name in {page for page, _ in places}}
    for page, index in places:
        if not 0 <= index < len(pages[page]):
            raise StoreError(
                f"ledger page {page[:12]} has {len(pages[page])} rows, but something refers to its row {index}",
                remedy="restore the folder training of the store from a copy",
                kind="store.corrupt",
            )
    return [pages[page][index] for page, index in places]


def page_rows(repository: Repository, version: str) -> list[PageRow]:
    """Rows that shaped or judged one version, with their roles; none for one that was not trained."""
    digest = repository.page_of(version)
    return [] if digest is None else learned_rows(repository, digest)


def update_rows(repository: Repository, version: str) -> list[PageRow]:
    """Every row of the update that trained a version, with its role and, if it was not used, why."""
    digest = repository.page_of(version)
    return [] if digest is None else all_rows(repository, digest)


def learned_rows(repository: Repository, digest: str) -> list[PageRow]:
    """Rows of a page that took part in its update: those it carried over, then the new ones, as in the batch."""
    return [row for row in all_rows(repository, digest) if row.role in LEARNED_ROLES]


def all_rows(repository: Repository, digest: str) -> list[PageRow]:
    """The rows of a page, as their update used them: those it carried over, then the new ones."""
    page = repository.read_page(digest)
    origins = read_rows(repository, [(item.page, item.index) for item in page.carried])
    rows = [
        msgspec.structs.replace(row, role=item.role, reason=item.reason, factor=item.factor)
        for row, item in zip(origins, page.carried, strict=True)
    ]
    return rows + page.rows


def learned_pages(repository: Repository, version: str) -> list[list[PageRow]]:
    """Rows of all ancestors, a list each; of rows with one id only the last, since it corrects the others."""
    return last_of_each([page_rows(repository, ancestor) for ancestor in ancestors(repository, version)])


def last_of_each(pages: Sequence[Sequence[PageRow]]) -> list[list[PageRow]]:
    """The pages' rows, of those with one id only the last."""
    last = {row.id: (number, index) for number, page in enumerate(pages) for index, row in enumerate(page)}
    return [
        [row for index, row in enumerate(page) if last[row.id] == (number, index)] for number, page in enumerate(pages)
    ]


def learned_places(repository: Repository, versions: Sequence[str]) -> dict[Place, str]:
    """Where the rows stand that these versions were trained or judged on, with their ids, in the versions' order."""
    entries = judging_entries(repository, {version for version in versions if repository.page_of(version)})
    pages = {version: entry.page for version, entry in entries.items() if entry.page is not None}
    found: list[Place] = []
    for version in versions:
        if version in pages:
            page = repository.read_page(pages[version])
            found += [(item.page, item.index) for item in page.carried if item.role in LEARNED_ROLES]
            found += [(pages[version], i) for i, row in enumerate(page.rows) if row.role in LEARNED_ROLES]
    return {place: row.id for place, row in zip(found, read_rows(repository, found), strict=True)}


def judging_entries(repository: Repository, versions: set[str]) -> dict[str, LogEntry]:
    """The latest update that judged each version: its page is the one the book speaks of.

    The page beside the version may be another one, written by an update that was killed before its commit.
    """
    found: dict[str, LogEntry] = {}
    for entry in repository.log.entries():
        if len(found) == len(versions):
            break
        if entry.candidate in versions and entry.page is not None:
            found.setdefault(entry.candidate, entry)
    return found


def last_certificate(repository: Repository, version: str) -> str | None:
    """The name of the newest certificate of a version that is or was live; None where no entry names one."""
    named = (entry.certificate for entry in repository.log.entries() if entry.version == version)
    return next((certificate for certificate in named if certificate is not None), None)


def certificate_of(repository: Repository, version: str) -> Certificate | None:
    """What vouches for a version that is or was live, if anything."""
    name = last_certificate(repository, version)
    return None if name is None else repository.read_certificate(version, name)


def anchor_of(repository: Repository, version: str) -> str:
    """The best version so far on the line of a version: what its certificate says, or itself."""
    certificate = certificate_of(repository, version)
    return (certificate.next_anchor if certificate else None) or version


def look_of(repository: Repository, version: str) -> Look | None:
    """What the ladder found when an update on the version's line last looked at its features."""
    for ancestor, entry in judging_entries(repository, set(ancestors(repository, version))).items():
        record = repository.read_record(ancestor, entry.number, entry.nonce)
        if record is not None and record.look is not None:
            return record.look
    return None


def quarantined_places(repository: Repository, book: Book, ids: Collection[str]) -> set[Place]:
    """Where quarantined rows of these ids stand."""
    marks = {short_hash(row_id) for row_id in ids}
    groups = [group for group in book.quarantined if ids and group.may_hold(marks)]
    places = [(group.page, index) for group in groups for index in group.indices]
    return {place for place, row in zip(places, read_rows(repository, places), strict=True) if row.id in ids}
