"""The audit: every judgement that a certificate tells of is made again, from the stored versions and the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import nn

from dripstone.checkout import checkout
from dripstone.core.config import Config, GateConfig
from dripstone.core.protocols import Model
from dripstone.core.records import Certificate, LogEntry
from dripstone.curate.policy import parse_policy
from dripstone.gate.judge import Judgement, judge
from dripstone.store.ledger import PageRow
from dripstone.store.redaction import was
from dripstone.store.repository import Repository
from dripstone.tasks.kinds import task_of
from dripstone.train.features import features_of
from dripstone.update import training_state
from dripstone.update.certify import row_set
from dripstone.update.champion import Champion, load_champion
from dripstone.update.growing import TOLERANCE, compared_rows, farthest
from dripstone.update.hearing import Contestant, Hearing, hear, load_anchor
from dripstone.update.lineage import ancestors, learned_rows
from dripstone.update.succession import APART, scores_apart, solved

SLACK = 1e-3
"""Share of the rows whose answers may come out otherwise: another machine adds float32 numbers in another order."""

ROUNDING = 1e-2
"""Relative difference of a wealth for the same reason; scores other than right and wrong are real numbers."""


class Finding(NamedTuple):
    """What the audit has to say about a log entry: a ``problem``, or else a judgement that nobody can make again."""

    problem: bool
    text: str


@dataclass(slots=True)
class _Features:
    """Features of rows by backbone, so that a row of many judgements is encoded once."""

    known: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    def of(self, model: Model, backbone: str, rows: list[PageRow]) -> torch.Tensor:
        names = [f"{row.id}\0{row.target!r}" for row in rows]
        missing = [index for index, name in enumerate(names) if (backbone, name) not in self.known]
        found = features_of(model, [rows[index].example().content for index in missing])
        for index, features in zip(missing, found, strict=True):
            self.known[backbone, names[index]] = features
        if not rows:
            return torch.empty(0, 0)
        return torch.stack([self.known[backbone, name] for name in names])


def audit(repository: Repository, config: Config) -> Iterator[str]:
    """Judge every candidate of the log again, and tell where a certificate says otherwise.

    Versions and pages have to be whole, see `Repository.verify`. Costs one forward pass over all held-out rows for each
    backbone that the versions have, and one checkout a candidate; where rows were unlearned, one more over all rows.

    Yields
    ------
    str
        A sentence for each certificate whose rows, evidence or verdict are not those of the judgement made again, for
        each version that has grown and answers otherwise than before, and for each that is live since rows were
        unlearned and is not what the others make of it.
    """
    for finding in find_all(repository, config):
        if finding.problem:
            yield finding.text


def find_all(repository: Repository, config: Config) -> Iterator[Finding]:
    """The same, with the judgements that cannot be made again, since rows were unlearned that they rest on."""
    features = _Features()
    gone = repository.deeds.versions()
    champion: Champion | None = None
    for entry in reversed(list(repository.log.entries())):
        if entry.event == "grow":
            yield from _about(entry, _growth(repository, config, entry, gone))
        if entry.event == "unlearn" and entry.candidate is not None:
            yield from _about(entry, _succession(repository, entry, gone))
        if entry.candidate is None or entry.judged is None or entry.page is None:
            continue
        certificate = repository.read_certificate(entry.candidate, entry.judged)
        if certificate.champion is None or certificate.rules is None:
            continue
        if lost := _lost(gone, entry.candidate, certificate.champion, certificate.anchor):
            yield from _about(entry, [Finding(False, lost)])
            continue
        champion = load_champion(repository, certificate.champion, champion)
        fresh, trusted = _rows_again(repository, config, entry, champion)
        if other := _other_rows(certificate, fresh, trusted):
            yield from _about(entry, [_because_unlearned(repository, entry, champion.version, other)])
            continue
        hearing = _hear_again(repository, certificate, champion, features, fresh, trusted)
        judgement = _judge_again(config, certificate, hearing)
        yield from _about(entry, [Finding(True, text) for text in _differences(certificate, hearing, judgement)])


def _about(entry: LogEntry, findings: Iterable[Finding]) -> Iterator[Finding]:
    version = entry.version if entry.judged is None else entry.candidate or entry.version
    for problem, text in findings:
        if problem:
            text += f"; do not trust version {version[:12]} before you know who changed the store"
        yield Finding(problem, f"log entry {entry.number}: {text}")


def _lost(gone: Mapping[str, int], *versions: str | None) -> str | None:
    """Why a judgement of these versions cannot be made again, where one of them was collected."""
    lost = next((version for version in versions if version in gone), None)
    return lost and f"version {lost[:12]} was collected by log entry {gone[lost]}, when rows were unlearned"


def _because_unlearned(repository: Repository, entry: LogEntry, version: str, other: str) -> Finding:
    """Rows that are not those of a certificate: a problem, unless some of them were unlearned."""
    pages = [repository.page_of(ancestor) for ancestor in ancestors(repository, version)]
    for name in {entry.page, *pages} - {None}:
        page = repository.read_page(name or "")
        if any(was("held_out", row) for row in page.rows) or any(was("held_out", item) for item in page.carried):
            return Finding(False, "rows that it rests on were unlearned")
    return Finding(True, other)


def _growth(repository: Repository, config: Config, entry: LogEntry, gone: Mapping[str, int]) -> Iterator[Finding]:
    """What has grown answers as the version that it was grown from, on the rows that its certificate names."""
    certificate = repository.read_certificate(entry.version, entry.certificate or "")
    if certificate.champion is None or certificate.source != "champion":
        return  # a version that has grown before, and is live again
    if lost := _lost(gone, entry.version, certificate.champion):
        yield Finding(False, lost)
        return
    small, large = (load_champion(repository, version) for version in (certificate.champion, entry.version))
    rows = compared_rows(_trusted_of(repository, config, small.version))
    if certificate.trusted != row_set(rows):
        other = f"the certificate names {certificate.trusted.rows} rows that are not the {len(rows)} of the ledger"
        yield _because_unlearned(repository, entry, small.version, other)
    elif not (apart := farthest(small, large, rows)) <= TOLERANCE:
        told = f"log probabilities are {apart:.1e} apart"
        yield Finding(True, f"what has grown answers otherwise than {small.version[:12]}, {told}")


def _succession(repository: Repository, entry: LogEntry, gone: Mapping[str, int]) -> Iterator[Finding]:
    """What is live since rows were unlearned has the features of before, and the head that the rows left give it."""
    if lost := _lost(gone, entry.version):
        yield Finding(False, lost)
        return
    certificate = repository.read_certificate(entry.version, entry.certificate or "")
    deed = repository.deeds.read(entry.unlearned or "")
    old, new = repository.manifest(certificate.champion or ""), repository.manifest(entry.version)
    if deed.penalty is None:
        if old.merkle != new.merkle:
            yield Finding(True, f"the weights are not those of {(certificate.champion or '')[:12]}")
        return
    if training_state.features_digest(old) != training_state.features_digest(new):
        yield Finding(True, f"the features are not those of {(certificate.champion or '')[:12]}")
        return
    live = load_champion(repository, entry.version)
    forget = parse_policy(f"screen+{deed.forget}").forget if deed.forget else None
    rows = training_state.trained_rows(repository, entry.version, forget=forget)
    model, _ = solved(live, rows, deed.penalty)
    if not (apart := scores_apart(model, live.model, rows)) <= APART:
        yield Finding(True, f"the output layer is not the one that the rows left give: scores are {apart:.1e} apart")


def _rows_again(
    repository: Repository, config: Config, entry: LogEntry, champion: Champion
) -> tuple[list[PageRow], list[PageRow]]:
    """The fresh and the trusted rows of a judgement, from the ledger."""
    learned = learned_rows(repository, entry.page or "")
    again = {row.id for row in learned}
    trusted = [row for row in _trusted_of(repository, config, champion.version) if row.id not in again]
    return [row for row in learned if row.role == "held_out"], trusted


def _other_rows(certificate: Certificate, fresh: list[PageRow], trusted: list[PageRow]) -> str | None:
    named = (("fresh", certificate.fresh, row_set(fresh)), ("trusted", certificate.trusted, row_set(trusted)))
    for name, told, found in named:
        if told != found:
            return f"the certificate names {told.rows} {name} rows that are not the {found.rows} of the ledger"
    return None


def _hear_again(
    repository: Repository,
    certificate: Certificate,
    champion: Champion,
    features: _Features,
    fresh: list[PageRow],
    trusted: list[PageRow],
) -> Hearing:
    manifest = repository.manifest(certificate.version)
    parent: nn.Module = champion.model  # type: ignore[assignment]
    model = cast(Model, checkout(repository, certificate.version, (champion.version, parent)))
    before = training_state.features_digest(repository.manifest(champion.version))
    after = training_state.features_digest(manifest)
    mine = [torch.zeros(len(fresh), champion.model.reads)] * 2  # a version that knows nothing says nothing
    if champion.task.labels:
        mine = [features.of(champion.model, before, rows) for rows in (fresh, trusted)]
    theirs = [features.of(model, after, rows) for rows in (fresh, trusted)]
    anchor = certificate.anchor or champion.version
    state = training_state.state_of_trusted(repository, champion.version, anchor, champion.model, trusted, mine[1])
    candidate = Contestant(model, task_of(manifest.task, manifest.labels, model), *theirs)
    return hear(champion, candidate, load_anchor(repository, champion, state, fresh, mine[0]), state, fresh, mine[0])


def _trusted_of(repository: Repository, config: Config, version: str) -> list[PageRow]:
    trusted: list[PageRow] = []
    for page, cap in zip(*training_state.pages_and_caps(repository, version, config.gate.trusted), strict=True):
        trusted = training_state.join_trusted(trusted, page, cap)
    return trusted


def _judge_again(config: Config, certificate: Certificate, hearing: Hearing) -> Judgement:
    rules = certificate.rules
    assert rules is not None
    gate = GateConfig(
        mode=rules.mode,
        alpha=rules.alpha,
        margin=rules.margin,
        holdout=config.gate.holdout,
        trusted=rules.trusted,
        minimum=rules.minimum,
        limits=rules.limits,
    )
    return judge(
        hearing.answers,
        hearing.fresh,
        tested=rules.tested,
        config=gate,
        metric=rules.metric,
        contested=rules.contested,
        drifting=rules.drifting,
    )


def _differences(certificate: Certificate, hearing: Hearing, judgement: Judgement) -> Iterator[str]:
    """What the certificate says otherwise; answers may differ where float32 sums come out in another order."""
    same = True
    for name, told_counts, found_counts in _counts(certificate, judgement):
        apart = max(abs(a - b) for a, b in zip(told_counts, found_counts, strict=True))
        same = same and apart == 0
        if apart > math.ceil(SLACK * len(hearing.rows)):
            yield f"the certificate counts {told_counts} {name}, where the stored versions give {found_counts}"
    if same:
        yield from _different_results(certificate, judgement)


def _counts(certificate: Certificate, judgement: Judgement) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    told, found = certificate.evidence, judgement.evidence
    yield "wins and losses", (told.wins, told.losses), (found.wins, found.losses)
    old, new = certificate.flips, judgement.flips
    yield "negative and positive flips", (old.negative, old.positive), (new.negative, new.positive)


def _different_results(certificate: Certificate, judgement: Judgement) -> Iterator[str]:
    for name, told, found in (
        ("evidence of gain", certificate.evidence.wealth, judgement.evidence.wealth),
        ("evidence of harm", certificate.harm.wealth, judgement.harm.wealth),
        ("alpha", certificate.evidence.alpha_spent, judgement.evidence.alpha_spent),
    ):
        if not math.isclose(told, found, rel_tol=ROUNDING, abs_tol=1e-12):
            yield f"the certificate names {told:.6g} as {name}, where the stored versions give {found:.6g}"
    timed = certificate.rules is not None and certificate.rules.limits.latency_ratio is not None
    if certificate.verdict != judgement.verdict and not timed:  # a latency cannot be measured again
        yield f"the certificate says {certificate.verdict!r}, where the gate says {judgement.verdict!r}"
