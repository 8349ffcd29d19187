"""Where a version comes from: its ancestors, and the rows they were trained and judged on. Reads the store only."""

from __future__ import annotations

from collections.abc import Iterable

from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository

Place = tuple[str, int]
"""A row's ledger page and its index there."""


def ancestors(repository: Repository, version: str) -> list[str]:
    """The version and those it was trained from, oldest first."""
    line = [version]
    while (parent := repository.manifest(line[-1]).parent) is not None:
        line.append(parent)
    return line[::-1]


def page_rows(repository: Repository, version: str) -> list[PageRow]:
    """Rows that shaped or judged one version, with their roles; none for one that was not trained."""
    digest = repository.page_of(version)
    if digest is None:
        return []
    page = repository.read_page(digest)
    rows = []
    for item in page.carried:
        if item.role in ("train", "held_out"):
            origin = repository.read_page(item.page).rows[item.index]
            rows.append(PageRow.of(origin.example(), item.role))
    return rows + [row for row in page.rows if row.role in ("train", "held_out")]


def learned_pages(repository: Repository, version: str) -> list[list[PageRow]]:
    """Rows of all ancestors, a list each; of rows with one id only the last, since it corrects the others."""
    pages = [page_rows(repository, ancestor) for ancestor in ancestors(repository, version)]
    last = {row.id: (number, index) for number, page in enumerate(pages) for index, row in enumerate(page)}
    return [
        [row for index, row in enumerate(page) if last[row.id] == (number, index)] for number, page in enumerate(pages)
    ]


def places(repository: Repository, versions: Iterable[str]) -> set[Place]:
    """Where the rows stand that these versions were trained or judged on."""
    found: set[Place] = set()
    for version in versions:
        digest = repository.page_of(version)
        if digest is not None:
            page = repository.read_page(digest)
            found |= {(digest, i) for i, row in enumerate(page.rows) if row.role in ("train", "held_out")}
            found |= {(item.page, item.index) for item in page.carried if item.role in ("train", "held_out")}
    return found
