"""Drift within an update: the batch beside the rows before it, and the live version's answers to it.

What is found is reported, and a risen error makes the ladder look at the features. Nothing is promoted by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.records import Drift
from dripstone.core.tensors import RawTensor
from dripstone.curate.drift import look_for_drift
from dripstone.curate.live_error import watch_errors
from dripstone.curate.replay import remember
from dripstone.curate.two_sample import LOOK, rows_to_look_at
from dripstone.store.state import TrainingState
from dripstone.train.features import outputs_of
from dripstone.update.batch import Batch
from dripstone.update.champion import Champion
from dripstone.update.lesson import Encoding


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What was found, and the window of right and wrong answers after it, [answers] bool, True where wrong."""

    drift: Drift
    errors: np.ndarray


def watch(
    champion: Champion, batch: Batch, encoding: Encoding, state: TrainingState, number: int, seed: int
) -> Watched:
    """Compare the batch with the held-out rows before it, and its labels with the champion's answers.

    Parameters
    ----------
    champion, batch, encoding, state
        As the update has them; the champion has seen none of the batch's rows.
    number : int
        Of the log's last entry: no store has looked more often.
    seed : int
        Of the draws.
    """
    places = rows_to_look_at(len(batch.rows), seed)
    features = encoding.of(places.tolist()).numpy()
    features = features[np.isfinite(features).all(axis=1)]  # training says what is wrong with the others
    reference = _reference(state.drift, features.shape[1])
    look = look_for_drift(reference, features, number, seed=seed)
    errors, live = watch_errors(_errors(state.drift), _wrong(champion, batch, encoding))
    words = []
    if look.alarm:
        words.append(
            f"{look}; see whether they belong here, and whether more of the model should move (--select suffix:2)"
        )
    if live.alarm:
        words.append(f"{live}; the ladder looks at the features again")
    found = Drift(look.alarm, look.p_value, live.alarm, live.before, live.after, words)
    return Watched(found, errors)


def _wrong(champion: Champion, batch: Batch, encoding: Encoding) -> np.ndarray:
    """Whether the champion has each row of a label that it knows wrong, in the order of arrival."""
    task = champion.task
    targets = task.encode([row.example.target for row in batch.rows])
    known = np.flatnonzero(task.classes(targets) >= 0)
    return ~task.mark(outputs_of(champion.model, encoding.of(known.tolist())), targets[known]).right


def advance_drift(
    kept: Mapping[str, RawTensor], features: torch.Tensor, watched: Watched | None, *, moved: bool, seed: int
) -> dict[str, RawTensor]:
    """What is kept after a promotion: a uniform sample of held-out rows' features, and the window of answers.

    The sample starts anew where the features have ``moved``, and after an alarm, which the same difference would raise
    again.
    """
    anew = moved or (watched is not None and watched.drift.inputs)
    reference = torch.empty(0, features.shape[1]) if anew else torch.from_numpy(_reference(kept, features.shape[1]))
    seen = 0 if anew else int(_read(kept, "seen", "I64", np.zeros(1, dtype=np.int64)).sum())
    rows, seen = remember(list(reference), seen, list(features.float()), LOOK, seed)
    errors = watched.errors if watched is not None else _errors(kept)
    return {
        "reference": to_raw(torch.stack(rows) if rows else reference),
        "seen": to_raw(torch.tensor([seen])),
        "errors": to_raw(torch.from_numpy(errors.astype(np.uint8))),
    }


def _reference(kept: Mapping[str, RawTensor], width: int) -> np.ndarray:
    """Features of earlier held-out rows; those of another model, and damaged ones, are as good as none."""
    nothing = np.empty((0, width), dtype=np.float32)
    found = _read(kept, "reference", "F32", nothing)
    return found if found.shape[1:] == (width,) and np.isfinite(found).all() else nothing


def _errors(kept: Mapping[str, RawTensor]) -> np.ndarray:
    return _read(kept, "errors", "U8", np.empty(0, dtype=np.uint8)).reshape(-1).astype(bool)


def _read(kept: Mapping[str, RawTensor], name: str, dtype: str, otherwise: np.ndarray) -> np.ndarray:
    raw = kept.get(name)
    return from_raw(raw).numpy() if raw is not None and raw.dtype == dtype else otherwise
