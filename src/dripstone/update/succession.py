"""The version after an unlearning: the live features, and a head solved anew over every row that is left.

It comes from the last version that never learned the rows, as if one update had learned all that is left since then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import cast

import msgspec
import torch
from torch import nn

from dripstone.core.bits import view_raw
from dripstone.core.config import Config
from dripstone.core.devices import device_of
from dripstone.core.fork import fork, named_tensors
from dripstone.core.parts import HEAD
from dripstone.core.protocols import Model
from dripstone.core.records import LogEntry, Update
from dripstone.core.spacing import spaced
from dripstone.curate.forget import Forget
from dripstone.curate.policy import parse_policy
from dripstone.select.selection import RIDGE
from dripstone.store.ledger import Carried, PageRow
from dripstone.store.repository import Repository, StoredVersion
from dripstone.train.closed_form import solve_again
from dripstone.train.features import features_of
from dripstone.train.statistics import Statistics
from dripstone.update.candidate import check_finite
from dripstone.update.champion import Champion, kept_labels
from dripstone.update.lineage import (
    LEARNED_ROLES,
    ancestors,
    judging_entries,
    last_of_each,
    page_rows,
    read_rows,
)
from dripstone.update.training_state import fresh_statistics, trained_in

SELECTION = "unlearn"
"""What stands as the selection of such a version; with ``@ridge`` where the head was solved."""

ASKED = 256
"""Rows on which two heads are held against each other."""

APART = 1e-3
"""Difference of two scores up to which they are those of one head, solved on another machine. Labels are 0 or 1, and
numbers count in usual errors."""


@dataclass(frozen=True, slots=True, eq=False)
class Succession:
    """The next version, not stored yet.

    ``parent`` is the last version that never learned the rows, ``carried`` what is left of all that was learned since
    then, ``left`` every row that is left to train on, as ``carried`` and the versions before have them. ``penalty`` and
    ``forget`` are those that the head was solved with; ``inexact`` says why it could not be solved, and is empty where
    it was. ``weighed`` says that curation gave some of them weights beside the rows that are gone.
    """

    parent: str | None
    carried: list[Carried]
    rows: list[PageRow]
    left: list[PageRow]
    model: Model
    statistics: Statistics | None = None
    penalty: float | None = None
    forget: str = ""
    inexact: str = ""
    weighed: bool = False


def succeed(repository: Repository, view: Repository, config: Config, champion: Champion, gone: Set[str]) -> Succession:
    """Make the next version in memory; nothing is written.

    Parameters
    ----------
    repository : Repository
        As it is.
    view : Repository
        As it would be without the rows.
    config : Config
        The project's settings.
    champion : Champion
        The live version, which learned some of the rows. It is only read.
    gone : set of str
        The versions that learned them, it among them.

    Raises
    ------
    DivergedError
        If the closed form has no finite solution.
    """
    forget = parse_policy(config.curate.policy).forget
    line = ancestors(repository, champion.version)
    kept = [version for version in line if version not in gone]
    carried, rows = _what_is_left(view, line[len(kept) :], forget)
    pages = [*(page_rows(view, version) for version in kept), rows]
    left = trained_in(pages, forget=forget)
    mover = _last_to_move_the_head(repository, line)
    inexact = _why_inexact(repository, champion, mover)
    parent = kept[-1] if kept else None
    if inexact:
        return Succession(parent, carried, rows, left, champion.model, inexact=inexact)
    penalty = _penalty(repository, config, champion, mover)
    model, statistics = solved(champion, left, penalty)
    weighed = _are_weighed(repository, view, line, forget)
    return Succession(parent, carried, rows, left, model, statistics, penalty, str(forget or ""), weighed=weighed)


def _are_weighed(repository: Repository, view: Repository, line: Sequence[str], forget: Forget | None) -> bool:
    """Whether rows count for more or less than their users said; how far they had faded is no such weight."""
    for version in line:
        if forget and repository.manifest(version).selection.startswith(SELECTION):
            continue
        if any(item.factor != 1.0 for item in _as_carried(view, version) if item.role == "train"):
            return True
    return False


def solved(champion: Champion, rows: Sequence[PageRow], penalty: float) -> tuple[Model, Statistics]:
    """A version's features under a head that is solved over these rows, and their statistics."""
    module: nn.Module = champion.model  # type: ignore[assignment]
    model = cast(Model, fork(module, HEAD))
    statistics = fresh_statistics(rows, model, champion.task)
    solve_again(model.head, statistics, penalty, numbers=champion.task.numbers)
    check_finite(model)
    return model, statistics


def _what_is_left(
    view: Repository, versions: Sequence[str], forget: Forget | None
) -> tuple[list[Carried], list[PageRow]]:
    """The rows that these versions learned or were judged by, as one update carries them; of each id the last.

    How far rows have faded becomes a part of their factor, since they are one update's from now on.
    """
    items = [_as_carried(view, version) for version in versions]
    places = [(item.page, item.index) for page in items for item in page]
    origins = dict(zip(places, read_rows(view, places), strict=True))
    pages = [
        [
            msgspec.structs.replace(
                origins[item.page, item.index], role=item.role, reason=item.reason, factor=item.factor
            )
            for item in page
        ]
        for page in items
    ]
    newer = 0
    carried: list[Carried] = []
    rows: list[PageRow] = []
    for page, whole, last in zip(reversed(items), reversed(pages), reversed(last_of_each(pages)), strict=True):
        fade = forget.fade(newer) if forget else 1.0
        stay = {id(row) for row in last}
        chosen = [
            (item, row, row.factor * (fade if row.role == "train" else 1.0))
            for item, row in zip(page, whole, strict=True)
            if id(row) in stay
        ]
        carried = [msgspec.structs.replace(item, factor=factor) for item, _, factor in chosen] + carried
        rows = [msgspec.structs.replace(row, factor=factor) for _, row, factor in chosen] + rows
        newer += sum(row.role == "train" for row in whole)
    return carried, rows


def _as_carried(view: Repository, version: str) -> list[Carried]:
    """The learned rows of a version's page by their places; none for a version that was not trained."""
    name = view.page_of(version)
    if name is None:
        return []
    page = view.read_page(name)
    own = [Carried(name, index, row.role, row.reason, row.factor) for index, row in enumerate(page.rows)]
    return [item for item in (*page.carried, *own) if item.role in LEARNED_ROLES]


def _why_inexact(repository: Repository, champion: Champion, mover: str) -> str:
    """Why the live head, which this version moved last, is not the closed form's; empty where it is."""
    if champion.task.texts:
        return "a language model's output layer is not solved in closed form"
    if kept_labels(repository.manifest(champion.version).spec):
        return "the output layer came with the model, and its labels have no rows"
    selection = repository.manifest(mover).selection
    if selection.endswith(f"@{RIDGE}") or _climbed(repository, mover):
        return ""
    return f"version {mover[:12]} trained the output layer in the loop ({selection})"


def _last_to_move_the_head(repository: Repository, line: Sequence[str]) -> str:
    heads = []
    for version in line:
        tensors = repository.manifest(version).tensors
        heads.append([tensors[name].digest for name in HEAD if name in tensors])
    moved = [version for version, old, new in zip(line[1:], heads, heads[1:], strict=False) if old != new]
    return moved[-1] if moved else line[-1]


def _climbed(repository: Repository, version: str) -> bool:
    """Whether the ladder made a version: where it tunes blocks, it solves the head over every row so far in the end."""
    entry, record = _report_of(repository, version)
    return bool(entry and entry.event != "unlearn" and record and record.look is not None)


def _penalty(repository: Repository, config: Config, champion: Champion, mover: str) -> float:
    """The one that the live head was solved with; of versions whose report does not say, what it would be now."""
    _, record = _report_of(repository, mover)
    if record is not None and record.penalty is not None:
        return record.penalty
    return config.train.ridge or float(champion.model.head.penalty)


def _report_of(repository: Repository, version: str) -> tuple[LogEntry | None, Update | None]:
    entry = judging_entries(repository, {version}).get(version)
    return entry, repository.read_record(version, entry.number, entry.nonce) if entry else None


def scores_apart(one: Model, other: Model, rows: Sequence[PageRow]) -> float:
    """How far the scores that two heads over the same features give to some of these rows are apart at most, before
    their scale."""
    asked = [rows[place].example().content for place in spaced(len(rows), ASKED).tolist()]
    if not asked:
        return 0.0
    features = features_of(one, asked).to(device_of(one.head))
    with torch.no_grad():
        mine, theirs = (
            nn.functional.linear(head.expand(features), head.weight, head.bias) for head in (one.head, other.head)
        )
    return float((mine - theirs).abs().max())


def store(repository: Repository, champion: Champion, succession: Succession) -> StoredVersion:
    """Write the next version, against one that is kept."""
    manifest = repository.manifest(champion.version)
    module: nn.Module = succession.model  # type: ignore[assignment]
    return repository.write_version(
        spec=manifest.spec,
        assets={},
        task=manifest.task,
        labels=list(manifest.labels),
        parent=succession.parent,
        selection=SELECTION if succession.inexact else f"{SELECTION}@{RIDGE}",
        data=_fingerprint(succession.rows),
        tensors={name: view_raw(tensor) for name, tensor in named_tensors(module).items()},
    )


def _fingerprint(rows: Sequence[PageRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        weight = row.weight * row.factor
        digest.update(f"{row.id}\0{row.target!r}\0{weight!r}\0{row.role}\0".encode())
    return digest.hexdigest()
