"""Collecting: deleting what an unlearning made superfluous, and which versions can be used no more because of it.

Nothing that is deleted here is read by anyone once the log entry is there, so that it may be cut short at any point and
done again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dripstone.core.errors import StoreError
from dripstone.core.records import Manifest
from dripstone.store.files import TEMP_PREFIX, file_size, is_there, list_names, remove, sync_folders

if TYPE_CHECKING:
    from dripstone.store.repository import Repository


STALE_SECONDS = 3600.0
"""After which what nothing names is nobody's any more."""


class Freed(NamedTuple):
    """Files that were deleted, or would be, and their bytes."""

    files: int = 0
    size: int = 0


class Superfluous(NamedTuple):
    """Files to delete, and ``young`` ones that are named by nothing either: of a store that was copied, that is any."""

    gone: list[Path]
    young: list[Path]


def refuse_collected(repository: Repository, version: str) -> None:
    """Refuse a version that was collected.

    Raises
    ------
    StoreError
        ``store.collected``, naming the log entry.
    """
    if (number := repository.deeds.versions().get(version)) is not None:
        raise StoreError(
            f"version {version[:12]} had learned rows that were unlearned, and was collected by log entry {number}",
            remedy="use a version that 'dripstone log' shows from that entry on, or one from before the rows came",
            kind="store.collected",
        )


def finish(repository: Repository) -> Freed:
    """Delete what the unlearnings so far made superfluous, where that is not done yet.

    Raises
    ------
    StoreError
        If a manifest that is needed cannot be read: nothing is deleted then that it may name.
    """
    files = size = 0
    for name, deed in repository.deeds.unfinished().items():
        moment = max(_written(repository.log.folder / f"{deed.number:06d}"), time.time() - STALE_SECONDS)
        gone, young = superfluous(repository, moment)
        files, size = files + len(gone), size + total_size(gone)
        for path in gone:
            remove(path)
        _remove_empty_folders([path.parent for path in gone if path.name == "manifest.json"])
        sync_folders({path.parent for path in gone})
        if not young:
            repository.deeds.mark_done(name)
    return Freed(files, size)


def would_free(
    repository: Repository, pages: Collection[str], states: Collection[str], versions: Collection[str]
) -> int:
    """Bytes that `finish` would delete, were these pages redacted, states superseded and versions collected."""
    folder = repository.path / "training"
    manifests = {version: repository.manifest(version) for version in repository.versions()}
    needed = needed_objects(manifests, {*versions, *unnamed(repository, manifests), *repository.deeds.versions()})
    gone = [folder / "ledger" / repository.deeds.current(page) for page in pages]
    gone += [folder / "state" / state for state in states]
    gone += [folder / "books" / book for book in list_names(folder / "books")]
    gone += [repository.objects.path(name) for name in repository.objects.all() if name not in needed]
    return total_size(gone)


def superfluous(repository: Repository, moment: float) -> Superfluous:
    """Files that hold, or may hold, what was unlearned, and that nothing refers to any more.

    Parameters
    ----------
    repository : Repository
        With the deed committed.
    moment : float
        Of the commit, in seconds since 1970. What is younger and named by nothing may be a writer's that is at work.
    """
    folder = repository.path / "training"
    replaced = [folder / "state" / state for state in sorted(repository.deeds.superseded_states())]
    replaced = [*_pages(repository), *(path for path in replaced if is_there(path))]
    kept = set(repository.kept_books())
    loose = [folder / "books" / book for book in list_names(folder / "books") if book not in kept]
    loose += _of_versions(repository, moment)
    temporary = [
        Path(parent, name)
        for parent, _, names in os.walk(repository.path)
        for name in names
        if name.startswith(TEMP_PREFIX)
    ]
    old = [path for path in (*loose, *temporary) if _written(path) <= moment]
    # Young temporary files are swept in the end, and nobody reads them.
    return Superfluous([*replaced, *old], [path for path in loose if _written(path) > moment])


def _pages(repository: Repository) -> Iterator[Path]:
    """Pages in whose place others are read."""
    current = repository.deeds.pages()
    for name in sorted((current.keys() | repository.deeds.written_pages()) - set(current.values())):
        if is_there(path := repository.path / "training" / "ledger" / name):
            yield path


def _of_versions(repository: Repository, moment: float) -> list[Path]:
    """Objects that no version needs, but for collected ones; and all of versions that no log entry ever named."""
    manifests = {version: repository.manifest(version) for version in repository.versions()}
    files = {version: repository.folder_of(version) / "manifest.json" for version in unnamed(repository, manifests)}
    orphans = {version for version, path in files.items() if _written(path) <= moment}
    needed = needed_objects(manifests, {*orphans, *repository.deeds.versions()})
    found = [repository.objects.path(name) for name in repository.objects.all() if name not in needed]
    for version, path in sorted(files.items()):
        found.append(path)  # before its records: a folder without one is no version
        if version in orphans:
            found += [path.parent / "records" / record for record in list_names(path.parent / "records")]
    return found


def unnamed(repository: Repository, manifests: dict[str, Manifest]) -> set[str]:
    """Versions that no log entry names, and that none of those comes from: what a killed update has left, or one that
    trained its candidate again."""
    named: set[str] = set()
    for entry in repository.log.entries():
        for version in (entry.version, entry.candidate):
            while version is not None and version not in named:
                named.add(version)
                version = manifests[version].parent if version in manifests else None
    return manifests.keys() - named


def needed_objects(manifests: dict[str, Manifest], gone: Collection[str]) -> set[str]:
    """Objects of all versions but those that are gone. What a delta is against is a parent, which is as whole."""
    needed: set[str] = set()
    for version, manifest in manifests.items():
        if version not in gone:
            needed |= {entry.object for entry in manifest.tensors.values()} | set(manifest.spec.assets.values())
    return needed


def total_size(paths: Collection[Path]) -> int:
    """Bytes of files together."""
    return sum(file_size(path) for path in paths if is_there(path))


def _remove_empty_folders(versions: Collection[Path]) -> None:
    """What is left of versions that were removed whole."""
    for version in versions:
        for folder in (version / "records", version):
            with contextlib.suppress(OSError):  # it is not there, or not empty
                folder.rmdir()


def _written(path: Path) -> float:
    """When a file was last written; one that is gone was never."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0
