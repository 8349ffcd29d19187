"""Is the store whole? Every entry, certificate, manifest, object, tensor, page and book is read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from dripstone.core.records import LogEntry, Manifest
from dripstone.store.checks import attempt, corrupt
from dripstone.store.format import MAX_PAYLOAD_BYTES
from dripstone.store.vouching import certificate_problems

if TYPE_CHECKING:
    from dripstone.store.repository import Repository


def find_problems(repository: Repository) -> Iterator[str]:
    """Every problem of a store, a sentence each, none twice.

    Parameters
    ----------
    repository : Repository
        The store. It is only read.

    Yields
    ------
    str
        What is wrong, and what to do about it. Files that nothing refers to are no problem.
    """
    told: set[str] = set()
    for problem in _all_problems(repository):
        if problem not in told:
            told.add(problem)
            yield problem


def _all_problems(repository: Repository) -> Iterator[str]:
    yield from attempt(lambda: repository.holdout_key)[1]
    entries: list[LogEntry] = []
    yield from _log_problems(repository, entries)
    yield from _unlearned_problems(repository, entries)
    yield from _reference_problems(repository, entries)
    yield from certificate_problems(repository, entries)
    for name in repository.objects.all():
        yield from attempt(repository.objects.get, name, MAX_PAYLOAD_BYTES)[1]
    seen: set[bytes] = set()
    gone, problems = attempt(repository.deeds.versions)
    yield from problems
    for version in repository.versions():
        yield from _version_problems(repository, version, seen, whole=version not in (gone or {}))


def _log_problems(repository: Repository, entries: list[LogEntry]) -> Iterator[str]:
    """Problems of the log itself; entries that are sound are appended to ``entries``."""
    yield from attempt(repository.log.last)[1]
    for number in repository.log.numbers():
        entry, problems = attempt(repository.log.entry, number)
        yield from problems
        if entry is not None:
            entries.append(entry)


def _unlearned_problems(repository: Repository, entries: list[LogEntry]) -> Iterator[str]:
    """Each unlearning has its deed, whose pages are there and whose versions are still known by their manifests."""
    known = set(repository.versions())
    for entry in entries:
        if (entry.event == "unlearn") != (entry.unlearned is not None):
            yield str(corrupt(f"log entry {entry.number} ({entry.event}) names {entry.unlearned} as its deed"))
        if entry.unlearned is None:
            continue
        deed, problems = attempt(repository.deeds.read, entry.unlearned)
        yield from problems
        if deed is None:
            continue
        if deed.number != entry.number:
            yield str(corrupt(f"log entry {entry.number} names a deed that was written for log entry {deed.number}"))
        for page in sorted(deed.pages):
            yield from attempt(repository.read_page, page)[1]
        for version in sorted(set(deed.versions) - known):
            yield f"version {version} was collected, and its manifest is not there; restore it from a copy"


def _reference_problems(repository: Repository, entries: list[LogEntry]) -> Iterator[str]:
    known = set(repository.versions())
    for entry in entries:
        for version in (entry.version, entry.candidate):
            if version is not None and version not in known:
                yield f"log entry {entry.number} names version {version}, which is not there; restore it from a copy"
    for page in sorted({entry.page for entry in entries if entry.page is not None}):
        yield from attempt(repository.read_page, page)[1]
    books, problems = attempt(repository.kept_books)
    yield from problems
    for book in books or []:
        yield from attempt(repository.read_book, book)[1]


def _version_problems(repository: Repository, version: str, seen: set[bytes], *, whole: bool) -> Iterator[str]:
    """Of a version that was collected, which is not ``whole``, manifest and reports are left, and no tensors."""
    yield from attempt(repository.records, version)[1]
    yield from attempt(repository.page_of, version)[1]
    manifest, problems = attempt(repository.manifest, version)
    yield from problems
    if manifest is not None and whole:
        for asset in sorted(manifest.spec.assets.values()):
            yield from attempt(repository.read_asset, asset)[1]
        yield from _tensor_problems(repository, version, manifest, seen)


def _tensor_problems(repository: Repository, version: str, manifest: Manifest, seen: set[bytes]) -> Iterator[str]:
    """Most tensors are their parent's, in the very same place; each is decoded once."""
    by_object: dict[str, list[str]] = {}
    for name, entry in manifest.tensors.items():
        place = msgspec.json.encode([name, entry])
        if place not in seen:
            seen.add(place)
            by_object.setdefault(entry.object, []).append(name)
    for names in by_object.values():
        yield from attempt(repository.read_tensors, version, names)[1]
