"""Traces: where rows of some ids stand in the ledger, and which versions were trained with them; reads them only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

from dripstone.store.ledger import Page
from dripstone.store.redaction import redact
from dripstone.store.repository import Repository
from dripstone.update.lineage import LEARNED_ROLES, Place


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """What the ledger holds of some rows.

    ``places`` are those of the rows, with their ids; ``pages`` what is left of each page that has such a row or carried
    one over, by the page's name. ``trained`` and ``judged`` are the ids that an update learned from or judged by, by
    the name of its page. ``roles`` counts the rows.
    """

    places: dict[Place, str]
    pages: dict[str, Page]
    trained: dict[str, set[str]]
    judged: dict[str, set[str]]
    roles: Counter[str]

    @property
    def ids(self) -> set[str]:
        """The ids that stand anywhere."""
        return set(self.places.values())

    def learned(self) -> Set[str]:
        """Pages of updates that the rows took part in."""
        return self.trained.keys() | self.judged.keys()


def find_traces(repository: Repository, ids: Set[str]) -> Traces:
    """Read every ledger page, those that no log entry names among them, for rows of these ids."""
    places: dict[Place, str] = {}
    roles: Counter[str] = Counter()
    names = repository.pages()
    for name in names:
        for index, row in enumerate(repository.read_page(name).rows):
            if row.id in ids:
                places[name, index] = row.id
                roles[row.role] += 1
    traces = Traces(places, {}, {}, {}, roles)
    for name in names if places else []:
        page = repository.read_page(name)
        held = list(_of_page(name, page, places))
        if held:
            traces.pages[name] = redact(name, page, places.keys())
        for role, found in zip(LEARNED_ROLES, (traces.trained, traces.judged), strict=True):
            if had := {row_id for its_role, row_id in held if its_role == role}:
                found[name] = had
    return traces


def _of_page(name: str, page: Page, places: dict[Place, str]) -> Iterator[tuple[str, str]]:
    """Role and id of each of the rows that the page has or carried over."""
    for index, row in enumerate(page.rows):
        if (name, index) in places:
            yield row.role, places[name, index]
    for item in page.carried:
        if (item.page, item.index) in places:
            yield item.role, places[item.page, item.index]


def trained_with(repository: Repository, traces: Traces) -> dict[str, set[str]]:
    """The versions whose own update learned from such rows, each with their ids."""
    pages = [(version, repository.page_of(version)) for version in repository.versions()]
    pages += [(entry.candidate, entry.page) for entry in repository.log.entries() if entry.candidate is not None]
    found: dict[str, set[str]] = {}
    for version, page in pages:
        if page is not None and page in traces.trained:
            found.setdefault(version, set()).update(traces.trained[page])
    return found


def descendants(repository: Repository, versions: Set[str]) -> set[str]:
    """These versions and all that come from them, but for those that were collected before."""
    parents = {version: repository.manifest(version).parent for version in repository.versions()}
    children: dict[str, list[str]] = {}
    for version, parent in parents.items():
        if parent is not None:
            children.setdefault(parent, []).append(version)
    found, waiting = set(versions), list(versions)
    while waiting:
        new = [child for child in children.get(waiting.pop(), []) if child not in found]
        found.update(new)
        waiting += new
    return found - repository.deeds.versions().keys()
