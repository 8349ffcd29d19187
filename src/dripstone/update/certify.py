"""The certificate that an update leaves beside its candidate: what was compared, on which rows, and what came of it."""

from __future__ import annotations

from dripstone.core.config import Config
from dripstone.core.examples import ids_digest
from dripstone.core.records import Certificate, RowSet, Rules
from dripstone.curate.policy import parse_policy
from dripstone.gate.judge import Judgement
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository
from dripstone.update.hearing import Hearing


def certify(
    repository: Repository,
    config: Config,
    *,
    version: str,
    champion: str,
    anchor: str,
    next_anchor: str,
    hearing: Hearing,
    judgement: Judgement,
    tested: int,
    contested: bool,
    number: int,
    time: str,
) -> Certificate:
    """The certificate of a judged candidate.

    ``anchor`` is the best version so far before the judgement, ``next_anchor`` the one after it; ``tested`` counts the
    candidates before it, ``contested`` is the batch's, ``number`` is the log entry to come.
    """
    drifting = parse_policy(config.curate.policy).drift is not None
    return Certificate(
        version=version,
        merkle=repository.manifest(version).merkle,
        source="gate" if number > 1 else "first",
        verdict=judgement.verdict,
        reason=judgement.reason,
        number=number,
        time=time,
        champion=champion,
        champion_merkle=repository.manifest(champion).merkle,
        anchor=anchor,
        next_anchor=next_anchor,
        fresh=row_set(hearing.rows[: hearing.fresh]),
        trusted=row_set(hearing.rows[hearing.fresh :]),
        rules=rules_of(config, tested, contested=contested, drifting=drifting),
        evidence=judgement.evidence,
        harm=judgement.harm,
        flips=judgement.flips,
    )


def rules_of(config: Config, tested: int, *, contested: bool = False, drifting: bool = False) -> Rules:
    """What the gate is told, as a certificate says it."""
    gate = config.gate
    return Rules(
        mode=gate.mode,
        alpha=gate.alpha,
        margin=gate.margin,
        minimum=gate.minimum,
        trusted=gate.trusted,
        metric=config.task.metric,
        tested=tested,
        limits=gate.limits,
        contested=contested,
        drifting=drifting,
    )


def row_set(rows: list[PageRow]) -> RowSet:
    """How many rows, and which."""
    return RowSet(len(rows), ids_digest(row.id for row in rows))


def certify_first(repository: Repository, version: str, reason: str, time: str) -> Certificate:
    """The certificate of a version that is live because nothing was before it."""
    return Certificate(
        version=version,
        merkle=repository.manifest(version).merkle,
        source="first",
        verdict="promoted",
        reason=reason,
        number=1,
        time=time,
        next_anchor=version,
    )
