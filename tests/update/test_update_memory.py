"""What curation remembers from update to update: at its first stage, at its bounds, in old and in damaged states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import zstandard

from dripstone.core.config import Config
from dripstone.core.examples import Example, Label
from dripstone.core.tensors import RawTensor
from dripstone.learner import Learner
from dripstone.models import mlp
from dripstone.store.format import pack_parts, unpack
from dripstone.store.ledger import PageRow
from dripstone.store.state import TrainingState, decode_state, encode_state
from dripstone.update.memory import Memory, advance_memory, as_fields, memory_of, stage_schema
from learner_samples import blobs, make, trained

KEY = b"k" * 32
MODEL = mlp(inputs=2, random_features=16)
EMPTY = TrainingState("ab" * 32, "", [], None, None, "ab" * 32, [], 0, RawTensor("I64", (0,), b""), {})
NEW_FIELDS = {"schema", "counts"}
LAWS = ["reservoir", "balanced", "herding"]


def page_row(name: str, *inputs: float, target: Label = "x", role: str = "train") -> PageRow:
    return PageRow.of(Example(name, np.array(inputs, dtype=np.float32), target), role)


def page(count: int, seed: int = 0, labels: str = "ab", role: str = "train") -> list[PageRow]:
    rows = blobs(count, seed, labels)
    return [
        page_row(f"{role}-{seed}-{i}", *row["inputs"], target=row["label"], role=role) for i, row in enumerate(rows)
    ]


def advance(
    memory: Memory, trained: Sequence[PageRow], held_out: Sequence[PageRow] = (), policy: str = "screen"
) -> Memory:
    config = Config().override({"curate.policy": policy})
    return advance_memory(memory, trained, held_out, config, KEY, MODEL)


def stored(memory: Memory) -> Memory:
    """As a state keeps it on disk and gives it back."""
    state = decode_state(b"".join(encode_state(replace(EMPTY, **as_fields(memory)))))
    return memory_of(state)


def same(one: Memory, other: Memory) -> bool:
    return as_fields(one) == as_fields(other)


def replays(law: str, capacity: int) -> str:
    return f"screen+replay:{capacity}" + ("" if law == "reservoir" else f":{law}")


def targets(memory: Memory) -> Counter:
    return Counter(row.target for row in memory.replay)


def test_nothing_is_remembered_at_first():
    memory = memory_of(EMPTY)
    assert same(memory, Memory())
    assert as_fields(memory) == {"replay": [], "replay_seen": 0, "schema": None, "counts": [], "prints": {}}


@pytest.mark.parametrize("policy", ["screen", "screen+dedupe", "screen+dedupe+replay:5:herding"])
def test_a_version_without_rows_adds_nothing(policy):
    """The first version of most projects: nothing was learned yet."""
    memory = advance(Memory(), [], [], policy)
    assert same(memory, Memory())
    learned = advance(memory, page(10), policy=policy)
    assert same(advance(learned, [], policy=policy), learned)


def test_a_state_gives_back_what_it_was_given():
    memory = advance(Memory(), page(30), page(8, 1, role="held_out"), "screen+dedupe+replay:20:balanced")
    assert len(memory.prints) == 76
    assert same(stored(memory), memory)
    numbers = [msgspec.structs.replace(row, target="ab".index(row.target)) for row in page(30)]
    counted = stored(advance(Memory(), numbers))
    assert counted.counts == {0: 30, 1: 30}


def test_the_schema_is_that_of_the_first_stage_for_ever():
    first = advance(Memory(), page(30), page(8, 1, role="held_out"))
    rows = [*page(30), *page(8, 1, role="held_out")]
    bounds = np.stack([row.inputs.numpy() for row in rows])
    assert first.schema.rows == 76
    assert first.schema.low == bounds.min(axis=0).tolist()
    assert first.schema.high == bounds.max(axis=0).tolist()
    wide = [page_row(f"w{i}", 10.0 * i, -10.0 * i) for i in range(5)]
    assert advance(first, wide).schema == first.schema


def test_the_usual_distance_is_learned_once_when_it_is_first_asked_for():
    plain = advance(Memory(), page(30))
    assert plain.schema.apart == 0
    asked = advance(plain, page(30, 1), policy="screen+dedupe")
    assert asked.schema == msgspec.structs.replace(plain.schema, apart=asked.schema.apart)
    assert asked.schema.apart > 0
    assert advance(asked, page(5, 2), policy="screen+dedupe").schema == asked.schema
    assert advance(asked, page(5, 2)).schema == asked.schema


def test_one_row_alone_lies_apart_from_nothing_and_the_next_stage_tells():
    memory = advance(Memory(), page(1, labels="a"), policy="screen+dedupe")
    assert memory.schema.apart == 0
    assert advance(memory, page(20, 1), policy="screen+dedupe").schema.apart > 0


@pytest.mark.parametrize("apart", [False, True])
def test_texts_need_no_distance(apart, monkeypatch):
    monkeypatch.setattr("dripstone.update.memory.prints_of", None)  # nor is anything computed for it
    schema = stage_schema(None, ["hello you", "good morning"], apart=apart)
    assert (schema.rows, schema.longest, schema.apart) == (2, 12, 0.0)
    assert stage_schema(schema, ["a longer one than that"], apart=apart) == schema
    assert stage_schema(None, [], apart=apart) is None


def test_labels_are_counted_as_they_are_learned_not_where_they_judge():
    memory = advance(Memory(), page(3), page(5, 1, role="held_out"))
    memory = advance(memory, page(4, 2, labels="ac"))
    assert memory.counts == {"a": 7, "b": 3, "c": 4}


def test_prints_are_kept_while_they_are_asked_for_the_newest_of_them(monkeypatch):
    monkeypatch.setattr("dripstone.update.memory.REMEMBERED", 25)
    memory = Memory()
    for seed in range(4):
        memory = advance(memory, page(10, seed), page(2, seed, role="held_out"), "screen+dedupe")
        assert len(memory.prints) == min(24 * (seed + 1), 25)
    newest = advance(Memory(schema=memory.schema), page(10, 3), page(2, 3, role="held_out"), "screen+dedupe")
    assert as_fields(newest)["prints"]["hashes"].data == memory.prints.hashes[1:].tobytes()
    assert advance(memory, page(5, 9)).prints is None


@pytest.mark.parametrize("law", LAWS)
def test_nothing_is_replayed_where_there_is_no_room(law):
    memory = advance(Memory(), page(20), policy=replays(law, 0))
    assert (list(memory.replay), memory.seen) == ([], 40)


@pytest.mark.parametrize("law", LAWS)
def test_rows_that_come_again_are_remembered_as_they_came_last(law):
    memory = advance(Memory(), page(20), policy=replays(law, 30))
    changed = [msgspec.structs.replace(row, target="c") for row in memory.replay[:4]]
    judging = [msgspec.structs.replace(row, role="held_out") for row in memory.replay[4:8]]
    after = advance(memory, changed, judging, replays(law, 30))
    by_id = {row.id: row for row in after.replay}
    assert len(by_id) == len(after.replay) <= 30
    assert all(by_id.get(row.id, row) == row for row in changed)
    assert not {row.id for row in judging} & by_id.keys()
    assert after.seen == 44


@pytest.mark.parametrize("law", ["balanced", "herding"])
def test_each_label_has_as_many_rows_while_they_last(law):
    memory = advance(Memory(), page(40) + page(3, 1, labels="c"), policy=replays(law, 23))
    assert targets(memory) == {"a": 10, "b": 10, "c": 3}
    memory = advance(memory, page(40, 2, labels="cd"), policy=replays(law, 23))
    assert set(targets(memory).values()) == {5}
    assert memory.seen == 163


@pytest.mark.parametrize("law", ["balanced", "herding"])
def test_more_labels_than_there_is_room_for(law):
    rows = [page_row(str(i), i, -i, target=i) for i in range(20)]
    memory = advance(Memory(), rows, policy=replays(law, 7))
    assert len(memory.replay) == len(targets(memory)) == 7
    again = advance(memory, page(3), policy=replays(law, 7))
    assert len(again.replay) == len(targets(again)) == 7


@pytest.mark.parametrize("law", LAWS)
def test_less_room_and_another_law_keep_a_part_of_what_there_was(law):
    memory = advance(Memory(), page(40), policy="screen+replay:60")
    for other in LAWS:
        less = advance(memory, [], policy=replays(other, 10))
        assert len(less.replay) == 10
        assert {row.id for row in less.replay} <= {row.id for row in memory.replay}
        assert len(advance(less, page(20, 5), policy=replays(law, 30)).replay) == 30


def test_a_herd_lies_where_all_of_the_labels_rows_lie():
    """Of the rows before, the few that are remembered stand for all of them."""
    left, right = ([page_row(f"{x}-{i}", x + 0.001 * i, 0.0) for i in range(30)] for x in (0.0, 1.0))
    memory = advance(Memory(), left, policy="screen+replay:8:herding")
    assert len(memory.replay) == 8
    memory = advance(memory, right[:10], policy="screen+replay:8:herding")
    assert sum(row.inputs.numpy()[0] < 0.5 for row in memory.replay) == 6  # three in four of the rows so far


def test_herding_counts_remembered_rows_where_an_old_store_has_not_counted_them():
    left = [page_row(f"l{i}", 0.001 * i, 0.0) for i in range(30)]
    old = Memory(replay=left, seen=30)
    memory = advance(old, [page_row(f"r{i}", 1 + 0.001 * i, 0.0) for i in range(10)], policy="screen+replay:8:herding")
    assert sum(row.inputs.numpy()[0] < 0.5 for row in memory.replay) == 6


def test_labels_that_do_not_come_keep_their_herd_and_nothing_is_computed_for_them(monkeypatch):
    memory = advance(Memory(), page(40), policy="screen+replay:20:herding")
    monkeypatch.setattr("dripstone.update.memory.features_of", None)
    less = advance(memory, [], policy="screen+replay:8:herding")
    herds = {label: [row for row in memory.replay if row.target == label] for label in "ab"}
    assert list(less.replay) == [*herds["a"][:4], *herds["b"][:4]]


@pytest.mark.parametrize("law", ["reservoir", "balanced"])
def test_only_herding_asks_the_model(law, monkeypatch):
    monkeypatch.setattr("dripstone.update.memory.features_of", None)
    assert len(advance(Memory(), page(40), policy=replays(law, 20)).replay) == 20


@pytest.mark.parametrize("law", LAWS)
def test_large_rows_are_remembered_as_far_as_they_fit(law, monkeypatch):
    monkeypatch.setattr("dripstone.update.bookkeeping.MAX_KEPT_BYTES", 8 * 12)
    memory = advance(Memory(), page(20), policy=replays(law, 1000))
    assert len(memory.replay) == 12


# States of old stores, which end where the new fields begin.


def as_it_was_written_before(state: TrainingState) -> TrainingState:
    """The state as a store wrote it that knew of no schema, counts and prints."""
    tensors = unpack(b"".join(encode_state(replace(state, prints={}))))
    rows = msgspec.msgpack.decode(zstandard.decompress(tensors["rows"].data))
    packed = zstandard.compress(msgspec.msgpack.encode({k: v for k, v in rows.items() if k not in NEW_FIELDS}))
    return decode_state(b"".join(pack_parts({**tensors, "rows": RawTensor("U8", (len(packed),), packed)})))


def reopened(learner: Learner, state: TrainingState) -> Learner:
    for file in (learner.repository.path / "training/state").iterdir():
        file.unlink()
    learner.repository.write_state(state)
    return Learner.open(learner.project)


@pytest.mark.parametrize(
    "policy",
    [
        "screen+replay:50",
        "screen+dedupe+weight+replay:50:balanced",
        "screen:known+noise+replay:50:herding",
        "screen+drift+dedupe+noise:weigh",
    ],
)
def test_the_state_of_an_old_store_opens_and_is_carried_on(tmp_path, policy):
    learner = trained(tmp_path, {"curate.policy": "screen+replay:100"})
    version = learner.champion().version
    kept = learner.repository.read_state(version)
    old = as_it_was_written_before(kept)
    assert (old.schema, old.counts, old.prints) == (None, [], {})
    assert replace(old, schema=kept.schema, counts=kept.counts) == kept
    learner = reopened(learner, old)
    again = learner.update(blobs(150, seed=0), curate=policy)
    assert again.verdict == "unchanged"
    update = learner.update(blobs(60, seed=1), curate=policy)
    assert update.promoted
    state = learner.repository.read_state(update.version)
    assert state.schema.rows == update.examples.trained + update.examples.held_out
    assert sum(count for _, count in state.counts) == update.examples.trained
    capacity = 0 if "replay" not in policy else 50
    assert len(state.replay) == capacity
    assert state.replay_seen == old.replay_seen + update.examples.trained
    assert bool(state.prints) == ("dedupe" in policy)


def test_a_state_with_foreign_prints_leads_to_the_same_version(tmp_path):
    """They are left out, not an error: the rows are learned, duplicates among them."""
    learner = make(tmp_path, {"curate.policy": "screen+dedupe", "gate.mode": "off"})
    first = learner.update(blobs(60, seed=0))
    state = learner.repository.read_state(first.version)
    sketches = RawTensor("I32", (len(blobs(60, 0)), 64), b"\0" * (len(blobs(60, 0)) * 256))
    learner = reopened(learner, replace(state, prints={**state.prints, "sketches": sketches}))
    assert learner.champion().version == first.version
    update = learner.update(blobs(60, seed=1))
    assert update.promoted
    after = memory_of(learner.repository.read_state(update.version))
    assert len(after.prints) == update.examples.trained + update.examples.held_out
