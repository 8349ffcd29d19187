"""Rows that make no sense: whole batches, single classes of them, and new labels that are not what they say."""

from __future__ import annotations

import numpy as np

from dripstone.core.config import Config
from dripstone.core.examples import Label
from dripstone.gate import reasons
from dripstone.gate.new_labels import find_thefts, unlearned_labels
from dripstone.gate.sense import batch_sense, class_sense
from dripstone.store.state import TrainingState
from dripstone.tasks.classification import mark
from dripstone.train.features import head_logits
from dripstone.update import training_state
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.candidate import Encoding
from dripstone.update.champion import Champion
from dripstone.update.hearing import Hearing


def find_nonsense(
    champion: Champion, batch: Batch, encoding: Encoding, state: TrainingState, config: Config
) -> tuple[list[BatchRow], str] | None:
    """Rows whose labels contradict the champion far more often than trusted labels do, and the reason to refuse them.

    The rows that came with this batch are asked first. Then all that wait are asked with them, since rows that come one
    by one say nothing alone. Rows that a person admitted need not be asked. Where all rows together make sense, those
    of one class may not: they are set aside alone.
    """
    rows = batch.rows
    targets = champion.task.encode([row.example.target for row in rows])
    agrees = mark(head_logits(champion.model, encoding.features), targets).right
    trusted_targets = champion.task.encode([row.target for row in state.trusted])
    known = trusted_targets >= 0
    trusted = training_state.marks_of(state)[0].right[known]
    arrived = np.array([row.origin is None for row in rows], dtype=bool)
    unadmitted = np.array([not row.admitted for row in rows], dtype=bool)
    for asked in (arrived, unadmitted):
        sense = batch_sense(agrees[asked & (targets >= 0)], trusted, config.gate.sense)
        if not sense.sound:
            return [rows[index] for index in np.flatnonzero(asked)], reasons.nonsense(sense)
    for asked in (arrived, unadmitted):
        asked &= targets >= 0
        unsound = class_sense(targets[asked], agrees[asked], trusted_targets[known], trusted, config.gate.sense)
        for code, sense in unsound.items():
            label = champion.task.labels[code]
            batch.set_aside(label, reasons.class_nonsense(label, sense))
    return None


def set_aside_new_labels(champion: Champion, hearing: Hearing, batch: Batch, config: Config) -> list[Label]:
    """New labels that the candidate does not learn, or that take what is not theirs; their rows are quarantined."""
    known = len(champion.task.labels)
    fresh, labels = hearing.fresh, hearing.labels
    targets, answers, right = hearing.targets, hearing.marked.answers, hearing.marked.right
    why: dict[int, str] = {}
    for code in unlearned_labels(targets[:fresh], right[:fresh], known):
        why[code] = reasons.unlearned(labels[code])
    before = hearing.answers.champion.marks.right[fresh:]
    for theft in find_thefts(targets[fresh:], before, answers[fresh:], known, config.gate.margin):
        old = None if theft.old is None else labels[theft.old]
        why.setdefault(theft.label, reasons.theft(labels[theft.label], old, theft.taken, theft.rows))
    admitted = {row.example.target for row in batch.rows if row.admitted}
    aside = {labels[code]: reason for code, reason in why.items() if labels[code] not in admitted}
    for label, reason in aside.items():
        batch.set_aside(label, reason)
    return list(aside)
