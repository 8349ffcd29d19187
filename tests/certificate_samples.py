"""Certificates made by hand, as an update writes them."""

from __future__ import annotations

import msgspec

from dripstone.core.examples import ids_digest
from dripstone.core.records import Certificate, Evidence, RowSet, Rules
from dripstone.store.repository import Repository

TIME = "2025-01-01T00:00:00Z"
ALPHA = 0.05


def rows(*ids: str) -> RowSet:
    return RowSet(len(ids), ids_digest(ids))


def first(repository: Repository, version: str, **changes: object) -> Certificate:
    """Of version 1."""
    merkle = repository.manifest(version).merkle
    made = Certificate(version, merkle, "first", "promoted", "a new project", 1, TIME, next_anchor=version)
    return msgspec.structs.replace(made, **changes)


def judged(
    repository: Repository, version: str, champion: str, number: int, *, tested: int | None = None, **changes: object
) -> Certificate:
    """Of the gate: a promotion, unless ``changes`` say otherwise. ``tested`` before it; None asked for no test."""
    turn = (tested or 0) + 1
    made = Certificate(
        version,
        repository.manifest(version).merkle,
        "gate",
        "promoted",
        "no loss measured",
        number,
        TIME,
        champion=champion,
        champion_merkle=repository.manifest(champion).merkle,
        anchor=champion,
        next_anchor=version,
        rules=Rules("steady", ALPHA, 0.01, 50, 4000, "accuracy", tested or 0),
        evidence=Evidence(alpha_spent=0.0 if tested is None else ALPHA / (turn * (turn + 1))),
    )
    return msgspec.structs.replace(made, **changes)
