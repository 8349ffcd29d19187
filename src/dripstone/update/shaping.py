"""What rows did to parameters that no closed form takes them out of, and the retraining that would."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set

from dripstone.core.unlearning import Shaped
from dripstone.store.repository import Repository
from dripstone.update.lineage import learned_pages


def history(repository: Repository, version: str) -> list[str]:
    """The versions that training has gone through on the way to this one, oldest first, collected ones among them.

    Where rows were unlearned, the line of parents leaves out what the version that was live then had gone through.
    """
    replaced: dict[str, str | None] = {}
    for entry in repository.log.entries():
        if entry.event == "unlearn" and entry.candidate is not None and entry.page is not None:
            replaced[entry.candidate] = repository.read_page(entry.page).parent
    line = [version]
    while (above := replaced.get(line[-1]) or repository.manifest(line[-1]).parent) is not None:
        line.append(above)
    return line[::-1]


def find_shaped(
    repository: Repository,
    version: str,
    trained: Mapping[str, Set[str]],
    gone: Collection[str],
    *,
    features_only: bool,
) -> list[Shaped]:
    """The versions on the way to this one that moved parameters once they had seen a row, for each such row.

    Parameters
    ----------
    repository : Repository
        As it is before the rows are taken out of it.
    version : str
        The live one.
    trained : mapping of str to set of str
        Ids that the own update of a version learned from.
    gone : collection of str
        Versions that can be used no more, or are about to be collected.
    features_only : bool
        The output layer is solved anew, so that the parameters below it count alone: those of the backbone. What was
        fitted to the first rows, the scale of columns and the width of a kernel, are hyperparameters.
    """
    line = history(repository, version)
    moved = [_moved(repository, line, place, features_only=features_only) for place in range(len(line))]
    first: dict[str, int] = {}
    for place, one in enumerate(line):
        for row_id in trained.get(one, ()):
            first.setdefault(row_id, place)
    removed = {row_id for ids in trained.values() for row_id in ids}
    left = _trained_ids(repository, version) - removed
    again: dict[str | None, int] = {}
    found = []
    for row_id, start in sorted(first.items()):
        clean = next((one for one in reversed(line[:start]) if one not in gone), None)
        if clean not in again:
            again[clean] = len(left - (_trained_ids(repository, clean) if clean else set()))
        for place in range(start, len(line)):
            if moved[place]:
                selection = repository.manifest(line[place]).selection
                found.append(Shaped(row_id, line[place], selection, clean, again[clean]))
    return found


def _moved(repository: Repository, line: list[str], place: int, *, features_only: bool) -> bool:
    tensors = [
        {
            name: entry.digest
            for name, entry in repository.manifest(version).tensors.items()
            if name.startswith("backbone.") or not features_only
        }
        for version in line[max(place - 1, 0) : place + 1]
    ]
    return tensors[0] != tensors[-1]


def _trained_ids(repository: Repository, version: str) -> set[str]:
    return {row.id for page in learned_pages(repository, version) for row in page if row.role == "train"}


def retraining(repository: Repository, shaped: Sequence[Shaped]) -> list[str]:
    """The commands that would learn without all of these rows: from the last version that saw none of them."""
    if not shaped:
        return []
    first = max(shaped, key=lambda one: (one.retrain_from is None, one.rows)).retrain_from
    if first is None or all(entry.version != first for entry in repository.log.entries()):
        return ["dripstone init, and dripstone update with the rows that are left: no earlier version was ever live"]
    return [
        f"dripstone revert {first[:12]}",
        "dripstone data admit --update N, where N is the log entry of the revert",
        "dripstone update FILE, with one of the rows that are left, or new ones",
    ]
