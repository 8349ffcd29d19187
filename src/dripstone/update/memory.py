"""What curation remembers from one update to the next: rows to replay, and by what it knows the stream.

A function of what was learned, in the order in which it was: kept beside the version, and rebuilt from the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.config import Config
from dripstone.core.examples import Inputs, Label, label_of, labels_of
from dripstone.core.protocols import Model
from dripstone.core.records import Schema
from dripstone.core.tensors import RawTensor
from dripstone.curate.dedupe import REMEMBERED, Prints, distance_apart, join_prints, no_prints, prints_of
from dripstone.curate.policy import Policy, parse_policy
from dripstone.curate.replay import draw_balanced, herd, level, remember
from dripstone.curate.schema import FEWEST_ROWS, learn_schema
from dripstone.store.ledger import PageRow
from dripstone.store.state import TrainingState
from dripstone.train.features import features_of
from dripstone.update.bookkeeping import affordable


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Replayed rows and how many have passed by them, the first stage's schema, rows by label, prints of the newest."""

    replay: Sequence[PageRow] = ()
    seen: int = 0
    schema: Schema | None = None
    counts: Counter[Label] = field(default_factory=Counter)
    prints: Prints | None = None


def memory_of(state: TrainingState) -> Memory:
    """What a state remembers."""
    counts = Counter(dict(state.counts))
    return Memory(state.replay, state.replay_seen, state.schema, counts, _read_prints(state.prints, state.schema))


def as_fields(memory: Memory) -> dict[str, Any]:
    """The fields of a state that hold it."""
    return {
        "replay": list(memory.replay),
        "replay_seen": memory.seen,
        "schema": memory.schema,
        "counts": list(memory.counts.items()),
        "prints": _raw_prints(memory.prints),
    }


def advance_memory(
    memory: Memory, trained: Sequence[PageRow], held_out: Sequence[PageRow], config: Config, key: bytes, model: Model
) -> Memory:
    """The memory after a promotion.

    Parameters
    ----------
    memory : Memory
        The one before; rows that came again are taken out of it.
    trained, held_out : sequence of PageRow
        What was learned, and what it was judged by.
    config : Config
        Policy, and the seed of the reservoir.
    key : bytes
        The store's, by which rows are drawn that nobody shall aim for.
    model : Model
        Gives the features that herding goes by; nothing else asks for them.
    """
    policy = parse_policy(config.curate.policy)
    again = {row.id for row in trained} | {row.id for row in held_out}
    old = [row for row in memory.replay if row.id not in again]
    rows = [*trained, *held_out]
    schema = stage_schema(memory.schema, [inputs_of(row) for row in rows], apart=policy.dedupe is not None)
    counts = memory.counts + Counter(labels_of(row.target for row in trained))
    replay, seen = _remember(old, replace(memory, counts=counts), trained, policy, config, key, model)
    prints = None
    if policy.dedupe and schema is not None:
        prints = join_prints(comparable_prints(memory, schema), print_rows(rows, schema), REMEMBERED)
    return Memory(replay, seen, schema, counts, prints)


def stage_schema(schema: Schema | None, inputs: Sequence[Inputs], *, apart: bool) -> Schema | None:
    """The schema of the first stage, which is this one where there is none yet, or one of too few rows.

    With ``apart`` also the usual distance of arrays, of the first stage that had one when it was asked for.
    """
    if schema is None or schema.rows < min(FEWEST_ROWS, len(inputs)) or not _fits(schema, inputs):
        schema = learn_schema(inputs) or schema
    if schema is None or not (apart and inputs and schema.low) or schema.apart:
        return schema
    distance = distance_apart(prints_of(inputs, [None] * len(inputs), schema))
    return msgspec.structs.replace(schema, apart=distance)


def _fits(schema: Schema, inputs: Sequence[Inputs]) -> bool:
    """Whether the bounds are those of rows like these; a state that was damaged may hold others."""
    texts = not inputs or isinstance(inputs[0], str)
    return texts or len(schema.low) in (1, np.size(inputs[0]))


def comparable_prints(memory: Memory, schema: Schema) -> Prints | None:
    """The prints that are kept; none where they were made in the units of another schema."""
    old = memory.schema
    return memory.prints if old is None or (old.low, old.high) == (schema.low, schema.high) else None


def inputs_of(row: PageRow) -> Inputs:
    """A row's inputs as an example has them."""
    return row.inputs if isinstance(row.inputs, str) else row.inputs.numpy()


def print_rows(rows: Sequence[PageRow], schema: Schema) -> Prints:
    """By what duplicates of these rows are recognised."""
    return prints_of([inputs_of(row) for row in rows], [row.target for row in rows], schema)


def _remember(
    old: Sequence[PageRow],
    memory: Memory,
    trained: Sequence[PageRow],
    policy: Policy,
    config: Config,
    key: bytes,
    model: Model,
) -> tuple[Sequence[PageRow], int]:
    capacity = affordable(policy.replay.capacity, [*old, *trained])
    if policy.replay.law == "reservoir":
        return remember(old, memory.seen, trained, capacity, config.train.seed)
    seen, pool = memory.seen + len(trained), [*old, *trained]
    if policy.replay.law == "generated":
        return [], seen
    if policy.replay.law == "balanced":
        labels = labels_of(row.target for row in pool)
        chosen = draw_balanced([row.id for row in pool], labels, memory.counts, capacity, key)
        return [pool[place] for place in chosen], seen
    return _herd(old, trained, memory.counts, capacity, model), seen


def _herd(
    old: Sequence[PageRow], trained: Sequence[PageRow], counts: Counter[Label], capacity: int, model: Model
) -> list[PageRow]:
    """As many rows of each label, each label's in the order of its herd. Labels that did not come keep theirs.

    Of the rows that a label had before, those remembered stand for all; at least for themselves, where an old store has
    not counted.
    """
    pools: dict[Label | None, list[PageRow]] = {}
    for row in [*old, *trained]:
        pools.setdefault(label_of(row.target), []).append(row)
    each = level([max(counts[label], len(pool)) for label, pool in pools.items()], capacity) or 1  # type: ignore[index]
    came = Counter(label_of(row.target) for row in trained)
    kept = []
    for label, pool in pools.items():
        if label in came:
            features = features_of(model, [inputs_of(row) for row in pool]).double().numpy()
            stand_for = np.ones(len(pool))
            remembered = len(pool) - came[label]
            stand_for[:remembered] = max(counts[label] - came[label], remembered) / max(remembered, 1)  # type: ignore[index]
            mean = np.average(features, axis=0, weights=stand_for)
            pool = [pool[place] for place in herd(features, mean, each)]
        kept += pool[:each]
    return kept[:capacity]


def _read_prints(tensors: dict[str, RawTensor], schema: Schema | None) -> Prints | None:
    """Prints of a state; those that fit nothing are as good as none."""
    if schema is None or tensors.keys() != {"hashes", "sketches"}:
        return None
    empty = _raw(no_prints("array" if schema.low else "text"))
    if any(_form(tensors[name]) != _form(raw) for name, raw in empty.items()):
        return None
    hashes, sketches = (from_raw(tensors[name]).numpy() for name in ("hashes", "sketches"))
    return Prints(hashes, sketches) if len(hashes) == len(sketches) and np.isfinite(sketches).all() else None


def _form(raw: RawTensor) -> tuple[str, int, tuple[int, ...]]:
    """What tensors with any number of rows have in common."""
    return raw.dtype, len(raw.shape), raw.shape[1:]


def _raw_prints(prints: Prints | None) -> dict[str, RawTensor]:
    return {} if prints is None or not len(prints) else _raw(prints)


def _raw(prints: Prints) -> dict[str, RawTensor]:
    return {
        "hashes": to_raw(torch.from_numpy(np.ascontiguousarray(prints.hashes))),
        "sketches": to_raw(torch.from_numpy(np.ascontiguousarray(prints.sketches))),
    }
