"""What an unlearning does, in words and numbers: what leaves, what is left, and how the next version answers."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import torch

from dripstone.core.bits import from_raw
from dripstone.core.examples import Label, label_of
from dripstone.core.protocols import Model, Task
from dripstone.core.records import Metrics, MetricsPair, count
from dripstone.core.unlearning import Shaped
from dripstone.gate.slices import part_rows, slice_means
from dripstone.store.ledger import Book, PageRow
from dripstone.store.state import TrainingState
from dripstone.train.features import outputs_of
from dripstone.update.champion import Champion
from dripstone.update.succession import Succession
from dripstone.update.traces import Traces

NAMED = 5
"""Versions that the log names at most."""


def removed(traces: Traces, before: Book, after: Book, state: TrainingState) -> dict[str, int]:
    """Rows that leave, by store, and ledger pages that are redacted."""
    quarantined = [sum(len(group.indices) for group in book.quarantined) for book in (before, after)]
    return {
        "ledger": len(traces.places),
        "pages": len(traces.pages),
        "pending": len(before.pending) - len(after.pending),
        "quarantined": quarantined[0] - quarantined[1],
        "trusted": sum(row.id in traces.ids for row in state.trusted),
        "replay": sum(row.id in traces.ids for row in state.replay),
    }


def reason(traces: Traces, next_: Succession | None, shaped: Sequence[Shaped], gone: Set[str]) -> str:
    """What goes into the log: counts, and no id."""
    words = f"{count(len(traces.ids), 'row')} unlearned"
    if next_ is not None and not next_.inexact:
        words += f"; the output layer is solved anew over the {count(len(next_.left), 'row')} that are left"
        words += "; not exact: they keep the weights that curation gave them beside those rows" if next_.weighed else ""
    elif next_ is not None:
        words += f"; not exact: {next_.inexact}, and the weights are what they were"
    if gone:
        words += f"; {count(len(gone), 'version')} collected"
    if shaped and next_ is not None and not next_.inexact:
        versions = list(dict.fromkeys(one.version[:12] for one in shaped))
        more = f" and {count(len(versions) - NAMED, 'other')}" if len(versions) > NAMED else ""
        rows = len({one.id for one in shaped})
        words += f"; the features still stem from {', '.join(versions[:NAMED])}{more}, which {rows} of them shaped"
    return words


def labels_without_rows(task: Task, state: TrainingState, next_: Succession | None) -> list[Label]:
    """Labels that keep their place in the output layer, and that no row is left of."""
    if next_ is None or task.numbers or task.texts:
        return []
    left = {label_of(row.target) for row in next_.left}
    learned = {label for label, rows in state.counts if rows}
    return [label for label in task.labels if label not in left and label in learned]


def measured(champion: Champion, next_: Succession | None, state: TrainingState, traces: Traces) -> dict[str, Any]:
    """Both versions on the trusted rows that are left."""
    stay = [place for place, row in enumerate(state.trusted) if row.id not in traces.ids]
    if not stay or state.trusted_features is None:
        return {}
    rows = [state.trusted[place] for place in stay]
    features = from_raw(state.trusted_features)[torch.tensor(stay)]
    old = _measure(champion.task, champion.model, rows, features)
    new = old if next_ is None else _measure(champion.task, next_.model, rows, features)
    return {"metrics": MetricsPair(old, new), "trusted": len(rows)}


def _measure(task: Task, model: Model, rows: Sequence[PageRow], features: torch.Tensor) -> Metrics:
    marked = task.mark(outputs_of(model, features), task.encode([row.target for row in rows]))
    parted = [part_rows("class", [label_of(row.target) for row in rows]), part_rows("slice", [r.slice for r in rows])]
    if task.texts:
        loss = -np.log(np.maximum(marked.probability.astype(np.float64), 1e-300))
        means = slice_means(loss, None, parted)
        return Metrics(perplexity=math.exp(loss.mean()), by_slice={name: math.exp(x) for name, x in means.items()})
    rmse = math.sqrt(np.square(marked.kept[:, 1].astype(np.float64)).mean()) if task.numbers else None
    return Metrics(accuracy=float(marked.right.mean()), by_slice=slice_means(marked.right, None, parted), rmse=rmse)
