"""The trial of a candidate: stored, rebuilt from its bits, and heard against the champion on held-out rows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import cast

import msgspec
import numpy as np
import torch
from torch import nn

from dripstone.checkout import checkout
from dripstone.core import processes
from dripstone.core.bits import view_raw
from dripstone.core.fork import changed_tensors
from dripstone.core.protocols import Model
from dripstone.core.records import MetricsPair
from dripstone.curate.policy import parse_policy
from dripstone.gate.judge import Judgement, judge
from dripstone.store.ledger import PageRow
from dripstone.store.repository import StoredVersion
from dripstone.store.state import TrainingState
from dripstone.train.features import latency_ms
from dripstone.update import training_state
from dripstone.update.attempt import Attempt
from dripstone.update.candidate import Candidate
from dripstone.update.commit import Outcome
from dripstone.update.hearing import Hearing, contestant, hear, load_anchor
from dripstone.update.training_state import Heard

LATENCY_ROWS = 64


def store_candidate(attempt: Attempt, candidate: Candidate) -> StoredVersion:
    """Write the candidate as a delta against the champion."""
    processes.agree("candidate", str(candidate.selection))
    return processes.by_first(partial(_store, attempt, candidate), StoredVersion)


def _store(attempt: Attempt, candidate: Candidate) -> StoredVersion:
    champion = attempt.champion
    attempt.repository.log.require(attempt.start.number)  # or rows that were unlearned meanwhile would be left in it
    model: nn.Module = candidate.model  # type: ignore[assignment]
    parent: nn.Module = champion.model  # type: ignore[assignment]
    manifest = attempt.repository.manifest(champion.version)
    return attempt.repository.write_version(
        spec=manifest.spec,
        assets={},
        task=manifest.task,
        labels=list(candidate.task.labels),
        parent=champion.version,
        selection=str(candidate.selection),
        data=attempt.batch.fingerprint(),
        tensors={name: view_raw(tensor) for name, tensor in changed_tensors(model, parent).items()},
        factors=candidate.factors,
    )


def rebuild(attempt: Attempt, stored: StoredVersion) -> Model:
    """The candidate as its stored bits give it, sharing what has not changed with the champion."""
    parent: nn.Module = attempt.champion.model  # type: ignore[assignment]
    return cast(Model, checkout(attempt.repository, stored.version, (attempt.champion.version, parent)))


def hear_candidate(attempt: Attempt, candidate: Candidate, model: Model) -> Hearing:
    """Let the rebuilt candidate, the champion and the anchor answer the batch's held-out rows and the trusted ones."""
    batch, state = attempt.batch, attempt.start.state
    rows = [PageRow.of(example, "held_out") for example in batch.fresh()]
    alone = candidate.keeps_features
    if alone or attempt.champion.task.labels:
        features = attempt.encoding.of(batch.places(held_out=True))
    else:  # whoever knows no label says nothing, whatever the features
        features = torch.zeros(len(rows), attempt.champion.model.reads)
    # Where the head alone has moved, the champion's features are the candidate's.
    shared = features if alone else None
    return hear(
        attempt.champion,
        contestant(model, candidate.task.of(model), rows, shared, state),
        load_anchor(attempt.repository, attempt.champion, state, rows, features),
        state,
        rows,
        features,
    )


def judge_candidate(attempt: Attempt, model: Model, hearing: Hearing) -> Judgement:
    """Ask the gate."""
    judgement = judge(
        hearing.answers,
        hearing.fresh,
        tested=attempt.start.book.tested,
        config=attempt.config.gate,
        metric=attempt.config.task.metric,
        latency_ms=_latencies(attempt, model, hearing),
        contested=attempt.batch.contested,
        drifting=parse_policy(attempt.config.curate.policy).drift is not None,
    )
    return replace(judgement, metrics=_with_errors(judgement.metrics, hearing)) if hearing.numbers else judgement


def _with_errors(metrics: MetricsPair, hearing: Hearing) -> MetricsPair:
    """The same measures, with the errors of the numbers that both gave."""
    fresh = hearing.answers.select(np.arange(hearing.fresh))
    sides = []
    for side, kept in ((metrics.champion, hearing.champion_kept), (metrics.candidate, hearing.marked.kept)):
        squares = np.square(kept[:, 1].astype(np.float64))
        means = hearing.answers.mean(squares), fresh.mean(squares[: hearing.fresh])
        roots = [None if mean is None or not kept[:, 0].all() else math.sqrt(mean) for mean in means]
        sides.append(msgspec.structs.replace(side, rmse=roots[0], fresh_rmse=roots[1]))
    return MetricsPair(*sides)


def _latencies(attempt: Attempt, model: Model, hearing: Hearing) -> tuple[float, float] | None:
    """Milliseconds a row of both, where a limit asks for them and there are rows to time."""
    if attempt.config.gate.limits.latency_ratio is None or not hearing.rows:
        return None
    inputs = [row.example().content for row in hearing.rows[:LATENCY_ROWS]]
    found = processes.by_first(partial(latency_ms, [attempt.champion.model, model], inputs), tuple[float, ...])
    return found[0], found[1]


def conclude(
    attempt: Attempt, candidate: Candidate, stored: StoredVersion, hearing: Hearing, judgement: Judgement
) -> Outcome:
    """How the update ends, with the next training state if the candidate is promoted."""
    next_state = None
    if judgement.verdict == "promoted":
        # A champion that knows no label is nobody's best version.
        best = judgement.new_best or not attempt.champion.task.labels
        next_state = training_state.advance(
            attempt.start.state,
            attempt.config,
            stored.version,
            attempt.repository.manifest(stored.version),
            trained=[PageRow.of(example, "train") for example in attempt.batch.training()],
            heard=_heard(hearing, attempt.start.state, stored.version if best else None),
            model=candidate.model,
            key=attempt.repository.holdout_key,
            watched=attempt.start.watched,
            statistics=candidate.statistics,
            optimizer=candidate.optimizer,
            look=candidate.look,
        )
    return Outcome(judgement.verdict, judgement.reason, candidate, stored, hearing, judgement, next_state)


def _heard(hearing: Hearing, state: TrainingState, new_best: str | None) -> Heard:
    """The hearing in the order of a state, old trusted rows first; ``new_best`` is the candidate where it is one."""
    order = np.concatenate([np.arange(hearing.fresh, len(hearing.rows)), np.arange(hearing.fresh)])
    mine = hearing.marked.kept
    return Heard(
        rows=[hearing.rows[index] for index in order],
        features=hearing.features[torch.from_numpy(order)] if len(hearing.rows) else hearing.features,
        marks=mine[order],
        anchor=new_best or state.anchor,
        anchor_marks=(mine if new_best else hearing.best_kept)[order],
    )
