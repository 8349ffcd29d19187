"""Curation of a batch: which of its rows are learned, and with what weight, policy after policy.

Duplicates are left out first, before anything is computed of them. Once the rows' features are known, wrong labels are
looked for, and labels are balanced. Held-out rows are only ever left out for what they say, as duplicates; what a model
thinks of them is no reason, or it would choose the rows that it is judged by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from dripstone.core.config import Config
from dripstone.core.events import Curated
from dripstone.core.examples import Label, labels_of
from dripstone.core.protocols import Head
from dripstone.curate.dedupe import find_duplicates, join_prints, no_prints, prints_of
from dripstone.curate.noise import REASON, Noise, wrong_label_probabilities
from dripstone.curate.policy import Policy, parse_policy
from dripstone.curate.weight import class_factors
from dripstone.store.state import TrainingState
from dripstone.train.features import outputs_of
from dripstone.train.out_of_fold import out_of_fold_scores
from dripstone.update.batch import Batch, BatchRow
from dripstone.update.champion import Champion
from dripstone.update.lesson import Encoding
from dripstone.update.memory import comparable_prints, memory_of, stage_schema

TOGETHER = 16_384
"""Rows that are compared with each other when labels are doubted: enough for any of them, and bounded in memory."""

FEWEST = 3
"""Rows of a label that the champion does not know, below which none is held to be wrong: the first one of a label
contradicts everything. Of the rows that are compared with each other, since others cannot speak for it."""


def leave_out_duplicates(batch: Batch, policy: Policy, state: TrainingState) -> None:
    """Reject new rows that say what an earlier one says; see `dripstone.curate.dedupe`.

    What a person admitted, what waits, and corrections of learned and of waiting rows are taken for granted: new rows
    are held against them.
    """
    if not policy.dedupe or not batch.rows:
        return
    seen = batch.corrections | {item.row.id for item in batch.replaced}
    old = [row for row in batch.rows if row.origin is not None or row.example.id in seen]
    new = [row for row in batch.rows if row.origin is None and row.example.id not in seen]
    memory = memory_of(state)
    schema = stage_schema(memory.schema, [row.example.inputs for row in batch.rows], apart=True)
    assert schema is not None
    kind = "text" if isinstance(batch.rows[0].example.inputs, str) else "array"
    before, arrived = (
        prints_of([row.example.inputs for row in rows], [row.example.target for row in rows], schema)
        for rows in (old, new)
    )
    past = join_prints(comparable_prints(memory, schema) or no_prints(kind), before if old else no_prints(kind))
    gone = set()
    for row, reason in zip(new, find_duplicates(arrived, past, schema.apart), strict=True):
        if reason is not None:
            batch.rejected.append((row.example, reason))
            gone.add(id(row))
    batch.rows = [row for row in batch.rows if id(row) not in gone]


def curate(
    champion: Champion, batch: Batch, encoding: Encoding, config: Config, state: TrainingState
) -> Iterator[Curated]:
    """Leave rows out of what is learned, or weigh them, as the policy says; yields what became of them, if it asks."""
    policy = parse_policy(config.curate.policy)
    before = [batch.rows[place] for place in batch.places(held_out=False)]
    if not policy.rows or not before:
        return
    for named in policy.rows:
        places = batch.places(held_out=False)
        rows = [batch.rows[place] for place in places]
        if isinstance(named, Noise):
            _doubt_labels(champion, rows, encoding.of(places), encoding, config.train.seed, weigh=named.weigh)
        else:
            _balance(rows, dict(state.counts))
    reasons = Counter(row.left_out for row in before if row.left_out is not None)
    yield Curated(len(before), dict(reasons))


def _doubt_labels(
    champion: Champion, rows: Sequence[BatchRow], features: torch.Tensor, encoding: Encoding, seed: int, *, weigh: bool
) -> None:
    if not torch.isfinite(features).all():
        return  # nobody can be asked; training says what there is to mend
    targets = labels_of(row.example.target for row in rows)
    task = champion.task.grow(targets)
    encoded = task.encode(targets)
    head = encoding.starter.head
    known = outputs_of(champion.model, features) if champion.task.labels else torch.empty(len(rows), 0)
    wrong = _wrong(head, features, encoded, known, len(task.labels), seed)  # type: ignore[arg-type]
    for row, probability in zip(rows, wrong.tolist(), strict=True):
        if row.admitted:
            continue
        row.doubted = probability > 0.5
        if weigh:
            row.example = replace(row.example, factor=row.example.factor * (1 - probability))
        elif row.doubted:
            row.left_out = REASON


def _wrong(
    head: Head, features: torch.Tensor, encoded: np.ndarray, known: torch.Tensor, classes: int, seed: int
) -> np.ndarray:
    """How probably each label is wrong, by the champion's scores ``known`` and by the rows of its portion."""
    wrong = np.empty(len(encoded))
    for places in _portions(len(encoded), seed):
        part, labels = torch.from_numpy(places), encoded[places]
        scores = out_of_fold_scores(head, features[part], torch.from_numpy(labels), known[part], classes)
        found = wrong_label_probabilities((one.numpy() for one in scores), labels)
        few = (np.bincount(labels)[labels] < FEWEST) & (labels >= known.shape[1])
        wrong[places] = np.where(few, 0.0, found)
    return wrong


def _portions(count: int, seed: int) -> list[np.ndarray]:
    """Places of at most `TOGETHER` rows that are compared with each other, each portion drawn from all."""
    parts = max(1, -(-count // TOGETHER))
    if parts == 1:
        return [np.arange(count)]
    return [np.sort(part) for part in np.array_split(np.random.default_rng(seed).permutation(count), parts)]


def _balance(rows: Sequence[BatchRow], before: dict[Label, int]) -> None:
    targets = labels_of(row.example.target for row in rows)
    for row, factor in zip(rows, class_factors(targets, before).tolist(), strict=True):
        row.example = replace(row.example, factor=row.example.factor * factor)
