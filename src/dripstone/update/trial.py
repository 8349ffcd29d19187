"""The trial of a candidate: stored, rebuilt from its bits, and set against the champion on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dripstone.checkout import checkout
from dripstone.core.bits import from_raw, to_raw
from dripstone.core.config import Config
from dripstone.core.examples import Label
from dripstone.core.fork import changed_tensors
from dripstone.core.protocols import Model
from dripstone.gate.judge import Answers, judge, nonsense
from dripstone.gate.sense import batch_sense, unlearned_labels
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository, StoredVersion
from dripstone.store.state import TrainingState
from dripstone.tasks.classification import Classification, answers
from dripstone.train.features import features_of, head_logits
from dripstone.update import training_state
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.candidate import Candidate, Encoding, head_answers
from dripstone.update.champion import Champion
from dripstone.update.commit import Outcome, Start


def find_nonsense(
    champion: Champion, batch: Batch, encoding: Encoding, state: TrainingState, config: Config
) -> tuple[list[BatchRow], str] | None:
    """Rows whose labels contradict the champion far more often than trusted labels do, and the reason to refuse them.

    The rows that came with this batch are asked first. Then all that wait are asked with them, since rows that come one
    by one say nothing alone. Rows that a person admitted need not be asked.
    """
    rows = batch.rows
    answered = np.empty(len(rows), dtype=np.int64)
    held_out = np.array([row.held_out for row in rows], dtype=bool)
    answered[~held_out] = head_answers(champion.model, encoding.training)
    answered[held_out] = head_answers(champion.model, encoding.fresh)
    targets = champion.task.encode([row.example.target for row in rows])
    trusted_targets = champion.task.encode([row.target for row in state.trusted])
    trusted = (head_answers(champion.model, _trusted_features(state)) == trusted_targets)[trusted_targets >= 0]
    arrived = np.array([row.origin is None for row in rows], dtype=bool)
    unadmitted = np.array([not row.admitted for row in rows], dtype=bool)
    for asked in (arrived, unadmitted):
        sense = batch_sense((answered == targets)[asked & (targets >= 0)], trusted, config.gate.sense)
        if not sense.sound:
            return [rows[index] for index in np.flatnonzero(asked)], nonsense(sense)
    return None


def unlearned_rows(champion: Champion, candidate: Candidate, batch: Batch, encoding: Encoding) -> list[Label]:
    """New labels that the candidate fails on most of their held-out rows."""
    fresh = batch.fresh()
    targets = candidate.task.encode([row.target for row in fresh])
    answered = head_answers(candidate.model, _fresh_features(candidate, candidate.model, batch, encoding))
    found = unlearned_labels(targets, answered == targets, len(champion.task.labels))
    return [candidate.task.labels[index] for index in found]


def _head_alone(candidate: Candidate) -> bool:
    return candidate.selection.name == "head"


def _active_fresh(batch: Batch, encoding: Encoding) -> torch.Tensor:
    """The champion's features of the fresh rows that are not set aside."""
    active = [row.quarantined is None for row in batch.rows if row.held_out]
    return encoding.fresh[torch.tensor(active, dtype=torch.bool)]


def _fresh_features(candidate: Candidate, model: Model, batch: Batch, encoding: Encoding) -> torch.Tensor:
    """What ``model``, the candidate or its stored copy, makes of those rows; only a moved backbone runs again."""
    if _head_alone(candidate):
        return _active_fresh(batch, encoding)
    return features_of(model, [row.inputs for row in batch.fresh()])


def _trusted_features(state: TrainingState) -> torch.Tensor:
    return torch.empty(0, 0) if state.trusted_features is None else from_raw(state.trusted_features)


def store_candidate(repository: Repository, champion: Champion, candidate: Candidate, batch: Batch) -> StoredVersion:
    """Write the candidate as a delta against the champion."""
    model: nn.Module = candidate.model  # type: ignore[assignment]
    parent: nn.Module = champion.model  # type: ignore[assignment]
    manifest = repository.manifest(champion.version)
    return repository.write_version(
        spec=manifest.spec,
        assets={},
        task=manifest.task,
        labels=list(candidate.task.labels),
        parent=champion.version,
        selection=str(candidate.selection),
        data=batch.fingerprint(),
        tensors={name: to_raw(tensor) for name, tensor in changed_tensors(model, parent).items()},
    )


def judge_candidate(
    repository: Repository,
    config: Config,
    champion: Champion,
    candidate: Candidate,
    stored: StoredVersion,
    batch: Batch,
    encoding: Encoding,
    start: Start,
) -> Outcome:
    """Let both answer the same held-out rows, the candidate as rebuilt from its stored bits, and ask the gate."""
    parent: nn.Module = champion.model  # type: ignore[assignment]
    rebuilt: Model = checkout(repository, stored.version, (champion.version, parent))  # type: ignore[assignment]
    fresh_rows = [PageRow.of(example, "held_out") for example in batch.fresh()]
    fresh_features = _fresh_features(candidate, rebuilt, batch, encoding)
    old_trusted = trusted_features = _trusted_features(start.state)
    if not _head_alone(candidate):
        trusted_features = features_of(rebuilt, [row.example().inputs for row in start.state.trusted])
    contest = Contest(champion, rebuilt, candidate.task)
    judgement = judge(
        contest.answers(fresh_rows, _active_fresh(batch, encoding), fresh_features),
        contest.answers(start.state.trusted, old_trusted, trusted_features),
        known=len(champion.task.labels),
        tested=start.book.tested,
        config=config.gate,
    )
    if judgement.verdict != "promoted":
        return Outcome(judgement.verdict, judgement.reason, candidate, stored, judgement)
    next_state = training_state.advance(
        start.state,
        config,
        stored.version,
        repository.manifest(stored.version),
        trained=[PageRow.of(example, "train") for example in batch.training()],
        held_out=fresh_rows,
        features=torch.cat([part for part in (trusted_features, fresh_features) if len(part)] or [trusted_features]),
        statistics=candidate.statistics if _head_alone(candidate) else None,
    )
    reason = judgement.reason if start.number else "the first version; nothing was live that it could harm"
    return Outcome("promoted", reason, candidate, stored, judgement, next_state)


@dataclass(frozen=True, slots=True)
class Contest:
    """Both contestants and the labels that the candidate knows, which include the champion's."""

    champion: Champion
    model: Model
    task: Classification

    def answers(self, rows: Sequence[PageRow], old_features: torch.Tensor, new_features: torch.Tensor) -> Answers:
        """What both answer to ``rows``, given each one's features of them."""
        logits = head_logits(self.model, new_features)
        return Answers(
            targets=self.task.encode([row.target for row in rows]),
            champion=head_answers(self.champion.model, old_features),
            candidate=answers(logits),
            restricted=answers(logits, classes=len(self.champion.task.labels)),
            labels=[str(row.target) for row in rows],
            slices=[row.slice for row in rows],
        )
