"""What training remembers of a version: trusted rows, replay memory, statistics. A cache over the ledger.

The state of a version is a function of the ledger pages on its line of ancestors. The newest ones are kept; any other,
or a damaged one, is rebuilt from those pages, which is what makes a revert cheap and complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.config import Config
from dripstone.core.protocols import Model
from dripstone.core.records import Manifest
from dripstone.core.tensors import RawTensor
from dripstone.curate.policy import parse_policy
from dripstone.curate.replay import remember
from dripstone.gate.trusted import keep_trusted
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository
from dripstone.store.state import TrainingState
from dripstone.tasks.classification import Classification
from dripstone.train.closed_form import Statistics, add_rows
from dripstone.train.features import features_of
from dripstone.update.bookkeeping import affordable
from dripstone.update.known import known_rows, merge_known
from dripstone.update.lineage import learned_pages

PORTION = 4096
"""Rows whose inputs are in memory at a time when statistics are rebuilt."""

LEARNED = ("head.weight", "head.bias", "head.scale")
"""Tensors that features, expanded ones included, do not depend on."""


def features_digest(manifest: Manifest) -> str:
    """Hash of every tensor that a row's expanded features depend on."""
    digest = hashlib.sha256()
    for name, entry in sorted(manifest.tensors.items()):
        if name not in LEARNED:
            digest.update(f"{name}\0{entry.digest}\0".encode())
    return digest.hexdigest()


def known_of(state: TrainingState) -> np.ndarray:
    """The state's known rows as [rows, 2] int64."""
    return from_raw(state.known).numpy().reshape(-1, 2)


def load_state(repository: Repository, config: Config, version: str, model: Model) -> TrainingState:
    """The kept state of a version, or one rebuilt from the ledger (without statistics, which are rebuilt on demand)."""
    manifest = repository.manifest(version)
    state = repository.read_state(version)
    if state is not None and state.backbone == features_digest(manifest) and _is_sound(state, model):
        return state
    return _rebuild(repository, config, version, manifest, model)


def _is_sound(state: TrainingState, model: Model) -> bool:
    """Whether the tensors of a state read from disk fit its rows and the model."""
    classes, expanded = model.head.weight.shape
    cross, features = state.statistics.get("cross"), state.trusted_features
    solvable = cross is None or (cross.shape[:-1] == (expanded + 1,) and cross.shape[-1] <= classes)
    matching = not state.trusted if features is None else features.dtype == "F32"
    return solvable and matching and state.known.shape[0] % 2 == 0


def _rebuild(repository: Repository, config: Config, version: str, manifest: Manifest, model: Model) -> TrainingState:
    trusted: list[PageRow] = []
    memory: list[PageRow] = []
    seen = 0
    known = np.empty((0, 2), dtype=np.int64)
    for page in learned_pages(repository, version):
        held_out = [row for row in page if row.role == "held_out"]
        trusted = cap_trusted([*trusted, *held_out], config.gate.trusted)
        memory, seen = _remember(memory, seen, [r for r in page if r.role == "train"], config)
        known = merge_known(known, known_rows(page))
    features = features_of(model, [row.example().inputs for row in trusted]) if trusted else None
    return TrainingState(
        version=version,
        backbone=features_digest(manifest),
        trusted=trusted,
        trusted_features=None if features is None else to_raw(features),
        replay=memory,
        replay_seen=seen,
        known=to_raw(torch.from_numpy(known.reshape(-1))),
        statistics={},
    )


def cap_trusted(rows: Sequence[PageRow], cap: int) -> list[PageRow]:
    """The rows that stay trusted."""
    return [rows[index] for index in _stay_trusted(rows, cap)]


def _stay_trusted(rows: Sequence[PageRow], cap: int) -> list[int]:
    return keep_trusted([row.target for row in rows], affordable(cap, rows))  # type: ignore[misc]


def _remember(
    memory: Sequence[PageRow], seen: int, rows: Sequence[PageRow], config: Config
) -> tuple[list[PageRow], int]:
    capacity = affordable(parse_policy(config.curate.policy).replay, [*memory, *rows])
    return remember(memory, seen, rows, capacity, config.train.seed)


def statistics_of(
    repository: Repository, state: TrainingState, model: Model, task: Classification, *, without: Iterable[str] = ()
) -> Statistics:
    """The closed form's statistics of every row that the version was trained on, less the rows named in ``without``.

    They are kept with the state, and rows are taken out of them one by one; after a change of the features they are
    computed anew from the ledger, in one forward pass over all those rows.
    """
    dropped = set(without)
    if state.statistics and not dropped:
        return Statistics.from_raw(state.statistics)
    pages = learned_pages(repository, state.version)
    rows = [row for page in pages for row in page if row.role == "train"]
    if state.statistics:
        gone = [row for row in rows if row.id in dropped]
        return _with_rows(Statistics.from_raw(state.statistics), gone, model, task, sign=-1.0)
    kept = [row for row in rows if row.id not in dropped]
    return _with_rows(Statistics.empty(model.head.weight.shape[1]), kept, model, task, sign=1.0)


def _with_rows(
    statistics: Statistics, rows: Sequence[PageRow], model: Model, task: Classification, *, sign: float
) -> Statistics:
    """Statistics with rows added (sign 1) or taken out (sign -1)."""
    for start in range(0, len(rows), PORTION):
        examples = [row.example() for row in rows[start : start + PORTION]]
        statistics = add_rows(
            statistics,
            model.head,
            features_of(model, [example.inputs for example in examples]),
            torch.from_numpy(task.encode([example.target for example in examples])),
            sign * torch.tensor([example.weight for example in examples], dtype=torch.float64),
        )
    return statistics


def without_rows(state: TrainingState, ids: set[str]) -> TrainingState:
    """The state with rows taken out of trusted and replayed ones, because a later row corrects them."""
    if not ids:
        return state
    stay = [index for index, row in enumerate(state.trusted) if row.id not in ids]
    features = state.trusted_features
    if features is not None:
        features = to_raw(from_raw(features)[torch.tensor(stay, dtype=torch.int64)])
    return replace(
        state,
        trusted=[state.trusted[index] for index in stay],
        trusted_features=features,
        replay=[row for row in state.replay if row.id not in ids],
    )


def advance(
    state: TrainingState,
    config: Config,
    version: str,
    manifest: Manifest,
    *,
    trained: Sequence[PageRow],
    held_out: Sequence[PageRow],
    features: torch.Tensor,
    statistics: Statistics | None,
) -> TrainingState:
    """The state after a promotion: held-out rows become trusted, trained ones are offered to replay.

    ``features`` [trusted + held_out, d] are what the new version makes of the old trusted rows, then of the new ones.
    """
    memory, seen = _remember(state.replay, state.replay_seen, trained, config)
    rows = [*state.trusted, *held_out]
    stay = _stay_trusted(rows, config.gate.trusted)
    kept: RawTensor | None = to_raw(features[torch.tensor(stay, dtype=torch.int64)]) if stay else None
    known = merge_known(known_of(state), known_rows([*trained, *held_out]))
    return TrainingState(
        version=version,
        backbone=features_digest(manifest),
        trusted=[rows[index] for index in stay],
        trusted_features=kept,
        replay=memory,
        replay_seen=seen,
        known=to_raw(torch.from_numpy(known.reshape(-1))),
        statistics={} if statistics is None else statistics.to_raw(),
    )
