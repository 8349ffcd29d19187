"""What training remembers of a version: trusted rows, replay memory, statistics. A cache over the ledger.

The state of a version is a function of the ledger pages on its line of ancestors. The newest ones are kept; any other,
or a damaged one, is rebuilt from those pages, which is what makes a revert cheap and complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from torch import nn

from dripstone.checkout import checkout
from dripstone.core.bits import from_raw, to_raw
from dripstone.core.config import Config
from dripstone.core.examples import label_of
from dripstone.core.protocols import Model, Task
from dripstone.core.records import Look, Manifest
from dripstone.core.tensors import RawTensor
from dripstone.curate.forget import Forget
from dripstone.curate.policy import parse_policy
from dripstone.gate.trusted import keep_trusted
from dripstone.store.ledger import PageRow
from dripstone.store.repository import Repository
from dripstone.store.state import MARKS, TrainingState
from dripstone.tasks.kinds import KINDS, task_of
from dripstone.train.features import features_of, outputs_of
from dripstone.train.statistics import Statistics, add_rows, fits, no_rows, read_statistics
from dripstone.update.bookkeeping import affordable
from dripstone.update.drift import Watched, advance_drift
from dripstone.update.known import known_rows, merge_known
from dripstone.update.lineage import ancestors, anchor_of, judging_entries, last_of_each, look_of, page_rows
from dripstone.update.memory import Memory, advance_memory, as_fields, memory_of
from dripstone.update.moments import advance_moments, lacks_moments

PORTION = 4096
"""Rows whose inputs are in memory at a time when statistics are rebuilt."""

LEARNED = ("head.weight", "head.bias", "head.scale", "head.penalty")
"""Tensors that features, expanded ones included, do not depend on."""


def features_digest(manifest: Manifest) -> str:
    """Hash of every tensor that what is kept of a row depends on: of texts, how likely they are, all of them."""
    digest = hashlib.sha256()
    apart = () if KINDS[manifest.task].texts else LEARNED
    for name, entry in sorted(manifest.tensors.items()):
        if name not in apart:
            digest.update(f"{name}\0{entry.digest}\0".encode())
    return digest.hexdigest()


def known_of(state: TrainingState) -> np.ndarray:
    """The state's known rows as [rows, 2] int64."""
    return from_raw(state.known).numpy().reshape(-1, 2)


def marks_of(state: TrainingState) -> tuple[np.ndarray, np.ndarray]:
    """How the version and the anchor did on the trusted rows, [rows, 2] each, as their task keeps it."""
    marks = np.empty((0, MARKS), dtype=np.float32)
    if state.trusted_marks is not None:
        marks = from_raw(state.trusted_marks).numpy()
    return marks[:, : MARKS // 2], marks[:, MARKS // 2 :]


def marks_to_raw(version: np.ndarray, anchor: np.ndarray) -> RawTensor:
    """The marks as a state keeps them."""
    return to_raw(torch.from_numpy(np.concatenate([version, anchor], axis=1).astype(np.float32)))


def load_state(repository: Repository, config: Config, version: str, model: Model) -> TrainingState:
    """The kept state of a version, or one rebuilt from the ledger (without statistics, which are rebuilt on demand)."""
    manifest = repository.manifest(version)
    anchor = anchor_of(repository, version)
    state = repository.read_state(version)
    current = state is not None and state.anchor == anchor and state.backbone == features_digest(manifest)
    if state is not None and current and _is_sound(state, model):
        return _with_moments(repository, _without_other_law(state, config), model)
    return rebuild_state(repository, config, version, anchor, model)


def with_horizon(config: Config) -> Config:
    """The settings, with no more trusted rows than old rows are to be remembered by."""
    forget = parse_policy(config.curate.policy).forget
    if forget is None:
        return config
    return config.override({"gate.trusted": min(config.gate.trusted, forget.trusted(config.gate.holdout))})


def _is_sound(state: TrainingState, model: Model) -> bool:
    """Whether the tensors of a state read from disk fit its rows and the model."""
    features = state.trusted_features
    matching = not state.trusted if features is None else features.dtype == "F32"
    marked = (state.trusted_marks is None) == (not state.trusted)
    return matching and marked and state.known.shape[0] % 2 == 0 and fits(state.statistics, model.head)


def _without_other_law(state: TrainingState, config: Config) -> TrainingState:
    """The state without statistics in which rows have faded otherwise than the policy now says.

    A row that is corrected could not be taken out of them: it weighs there what it did under the other policy.
    """
    law = _law(config)
    return state if state.forget == law else replace(state, statistics={}, forget=law)


def _law(config: Config) -> str:
    """The policy by which old rows fade; empty where they do not."""
    return str(parse_policy(config.curate.policy).forget or "")


def _with_moments(repository: Repository, state: TrainingState, model: Model) -> TrainingState:
    """The state with moments, which one of an older dripstone lacks."""
    if not lacks_moments(state.moments, model):
        return state
    moments: dict[str, RawTensor] = {}
    for ancestor in ancestors(repository, state.version):
        trained = [row for row in page_rows(repository, ancestor) if row.role == "train"]
        moments = advance_moments(moments, trained, model)
    return replace(state, moments=moments)


def rebuild_state(repository: Repository, config: Config, version: str, anchor: str, model: Model) -> TrainingState:
    """The state of a version from the ledger alone, without statistics; ``anchor`` is the best version so far."""
    trusted: list[PageRow] = []
    memory = Memory()
    known = np.empty((0, 2), dtype=np.int64)
    moments: dict[str, RawTensor] = {}
    for page, cap in zip(*pages_and_caps(repository, version, config.gate.trusted), strict=True):
        trusted = join_trusted(trusted, page, cap)
        learned, judging = ([row for row in page if row.role == role] for role in ("train", "held_out"))
        memory = advance_memory(memory, learned, judging, config, repository.holdout_key, model)
        known = merge_known(known, known_rows(page))
        moments = advance_moments(moments, learned, model)
    features = features_of(model, [row.example().content for row in trusted])
    state = state_of_trusted(repository, version, anchor, model, trusted, features)
    known_raw = to_raw(torch.from_numpy(known.reshape(-1)))
    look = look_of(repository, version)
    fields = as_fields(memory)
    return replace(state, known=known_raw, look=look, moments=moments, forget=_law(config), **fields)


def state_of_trusted(
    repository: Repository,
    version: str,
    anchor: str,
    model: Model,
    trusted: list[PageRow],
    features: torch.Tensor,
) -> TrainingState:
    """A state that knows nothing but trusted rows, their features, and how the version and the anchor do on them."""
    return TrainingState(
        version=version,
        backbone=features_digest(repository.manifest(version)),
        trusted=trusted,
        trusted_features=to_raw(features) if trusted else None,
        trusted_marks=_mark_anew(repository, version, anchor, model, trusted, features) if trusted else None,
        anchor=anchor,
        replay=[],
        replay_seen=0,
        known=to_raw(torch.empty(0, dtype=torch.int64)),
        statistics={},
    )


def join_trusted(trusted: Sequence[PageRow], page: Sequence[PageRow], cap: int) -> list[PageRow]:
    """The trusted rows after a promotion: rows that came again give way, the page's held-out ones join, up to a cap."""
    again = {row.id for row in page}
    rows = [row for row in trusted if row.id not in again] + [row for row in page if row.role == "held_out"]
    return [rows[index] for index in _stay_trusted(rows, cap)]


def pages_and_caps(repository: Repository, version: str, default: int) -> tuple[list[list[PageRow]], list[int]]:
    """The rows of every ancestor that has any, a list each, and the cap of trusted rows when each of them was judged.

    One that was not trained, because it is the first or has grown, was not judged: it leaves all rows as they are. What
    was left when rows were unlearned says itself how many were trusted then.
    """
    line = [ancestor for ancestor in ancestors(repository, version) if repository.page_of(ancestor) is not None]
    entries = judging_entries(repository, set(line))
    caps = []
    for ancestor in line:
        entry = entries.get(ancestor)
        name = entry and (entry.certificate if entry.event == "unlearn" else entry.judged)
        judged = repository.read_certificate(ancestor, name) if name else None
        caps.append(judged.rules.trusted if judged and judged.rules else default)
    return [page_rows(repository, ancestor) for ancestor in line], caps


def _mark_anew(
    repository: Repository,
    version: str,
    anchor: str,
    model: Model,
    rows: Sequence[PageRow],
    features: torch.Tensor,
) -> RawTensor:
    own = repository.manifest(version)
    mine = _marks_on(model, own, rows, features)
    if anchor == version:
        return marks_to_raw(mine, mine)
    manifest = repository.manifest(anchor)
    module: nn.Module = model  # type: ignore[assignment]
    best: Model = checkout(repository, anchor, (version, module))  # type: ignore[assignment]
    if features_digest(manifest) != features_digest(own):
        features = features_of(best, [row.example().content for row in rows])
    return marks_to_raw(mine, _marks_on(best, manifest, rows, features))


def _marks_on(model: Model, manifest: Manifest, rows: Sequence[PageRow], features: torch.Tensor) -> np.ndarray:
    """How a version does on rows whose features it made."""
    task = task_of(manifest.task, manifest.labels, model)
    return task.mark(outputs_of(model, features), task.encode([row.target for row in rows])).kept


def _stay_trusted(rows: Sequence[PageRow], cap: int) -> list[int]:
    return keep_trusted([label_of(row.target) for row in rows], affordable(cap, rows))


def statistics_of(
    repository: Repository,
    state: TrainingState,
    model: Model,
    task: Task,
    *,
    without: Iterable[str] = (),
    forget: Forget | None = None,
) -> Statistics:
    """The closed form's statistics of every row that the version was trained on, less the rows named in ``without``.

    They are kept with the state, and rows are taken out of them one by one; after a change of the features they are
    computed anew from the ledger, in one forward pass over all those rows.
    """
    dropped = set(without)
    if not state.statistics:
        rows = trained_rows(repository, state.version, without=dropped, forget=forget)
        return fresh_statistics(rows, model, task)
    if not dropped:
        return read_statistics(state.statistics)
    gone = [row for row in trained_rows(repository, state.version, forget=forget) if row.id in dropped]
    return _with_rows(read_statistics(state.statistics), gone, model, task, sign=-1.0)


def trained_rows(
    repository: Repository,
    version: str,
    *,
    without: Set[str] = frozenset(),
    forget: Forget | None = None,
    newer: int = 0,
) -> list[PageRow]:
    """Every row that a version was trained on, from the ledger, less the rows named in ``without``.

    Their factors have faded as ``forget`` says, once ``newer`` more rows are learned.
    """
    pages = [page_rows(repository, ancestor) for ancestor in ancestors(repository, version)]
    return trained_in(pages, without=without, forget=forget, newer=newer)


def trained_in(
    pages: Sequence[Sequence[PageRow]],
    *,
    without: Set[str] = frozenset(),
    forget: Forget | None = None,
    newer: int = 0,
) -> list[PageRow]:
    """The same of the rows of a line of versions, a list for each."""
    found: list[PageRow] = []
    for whole, page in zip(reversed(pages), reversed(last_of_each(pages)), strict=True):
        rows = [row for row in page if row.role == "train" and row.id not in without]
        if forget is not None:
            fade = forget.fade(newer)
            rows = [msgspec.structs.replace(row, factor=row.factor * fade) for row in rows]
            newer += sum(row.role == "train" for row in whole)
        found = rows + found
    return found


def fresh_statistics(rows: Sequence[PageRow], model: Model, task: Task) -> Statistics:
    """Statistics of rows under a model's features, which are computed for it."""
    return _with_rows(no_rows(), rows, model, task, sign=1.0)


def _with_rows(statistics: Statistics, rows: Sequence[PageRow], model: Model, task: Task, *, sign: float) -> Statistics:
    """Statistics with rows added (sign 1) or taken out (sign -1)."""
    for start in range(0, len(rows), PORTION):
        examples = [row.example() for row in rows[start : start + PORTION]]
        statistics = add_rows(
            statistics,
            model.head,
            features_of(model, [example.content for example in examples]),
            torch.from_numpy(task.encode([example.target for example in examples])),
            sign * torch.tensor([example.training_weight for example in examples], dtype=torch.float64),
        )
    return statistics


def without_rows(state: TrainingState, ids: set[str]) -> TrainingState:
    """The state with rows taken out of trusted and replayed ones, because a later row corrects them."""
    if not ids:
        return state
    stay = [index for index, row in enumerate(state.trusted) if row.id not in ids]
    return replace(
        state,
        trusted=[state.trusted[index] for index in stay],
        trusted_features=_rows_of(state.trusted_features, stay),
        trusted_marks=_rows_of(state.trusted_marks, stay),
        replay=[row for row in state.replay if row.id not in ids],
    )


def _rows_of(raw: RawTensor | None, rows: Sequence[int]) -> RawTensor | None:
    if raw is None or not rows:
        return None
    return to_raw(from_raw(raw)[torch.tensor(rows, dtype=torch.int64)])


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Held-out rows after a hearing, in the order of a state: the old trusted ones, then those that were fresh.

    ``features`` [rows, d] and ``marks`` are the new version's; ``anchor`` is the best version so far after its
    promotion, ``anchor_marks`` are that one's; both [rows, 2], as the task keeps them.
    """

    rows: list[PageRow]
    features: torch.Tensor
    marks: np.ndarray
    anchor: str
    anchor_marks: np.ndarray


def advance(
    state: TrainingState,
    config: Config,
    version: str,
    manifest: Manifest,
    *,
    trained: Sequence[PageRow],
    heard: Heard,
    model: Model,
    key: bytes,
    watched: Watched | None = None,
    statistics: Statistics | None,
    optimizer: dict[str, RawTensor] | None = None,
    look: Look | None = None,
) -> TrainingState:
    """The state after a promotion: held-out rows become trusted, trained ones are offered to replay."""
    stay = _stay_trusted(heard.rows, config.gate.trusted)
    fresh = heard.rows[len(state.trusted) :]
    known = merge_known(known_of(state), known_rows([*trained, *fresh]))
    memory = advance_memory(memory_of(state), trained, fresh, config, key, model)
    chosen = np.array(stay, dtype=np.int64)
    backbone = features_digest(manifest)
    drift = {}
    if parse_policy(config.curate.policy).drift:
        features = heard.features[len(state.trusted) :]
        drift = advance_drift(state.drift, features, watched, moved=backbone != state.backbone, seed=config.train.seed)
    return TrainingState(
        version=version,
        backbone=backbone,
        trusted=[heard.rows[index] for index in stay],
        trusted_features=to_raw(heard.features[torch.from_numpy(chosen)]) if stay else None,
        trusted_marks=marks_to_raw(heard.marks[chosen], heard.anchor_marks[chosen]) if stay else None,
        anchor=heard.anchor,
        known=to_raw(torch.from_numpy(known.reshape(-1))),
        statistics={} if statistics is None else statistics.to_raw(),
        optimizer=optimizer or {},
        look=look or state.look,
        drift=drift,
        moments=advance_moments(state.moments, trained, model),
        forget=_law(config),
        **as_fields(memory),
    )
