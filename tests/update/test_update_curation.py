"""Curation of a batch at its edges: what is rejected, left out or weighed, and what is taken for granted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from dripstone.core.config import Config
from dripstone.core.events import Curated
from dripstone.core.examples import Example, Label, is_held_out
from dripstone.core.tensors import RawTensor
from dripstone.curate.dedupe import CLOSE, CONFLICT, EXACT
from dripstone.curate.noise import REASON
from dripstone.curate.policy import parse_policy
from dripstone.learner import Learner
from dripstone.models.head import Head, Identity
from dripstone.store.ledger import Book, PageRow, PendingRow
from dripstone.store.state import TrainingState
from dripstone.train.out_of_fold import out_of_fold_scores
from dripstone.update import curation
from dripstone.update.batch import Batch, assemble
from dripstone.update.bookkeeping import settle
from dripstone.update.curation import FEWEST, curate, leave_out_duplicates
from dripstone.update.known import known_rows
from dripstone.update.lesson import encode_batch
from dripstone.update.memory import Memory, advance_memory, as_fields
from learner_samples import blobs, make, trained

KEY = b"k" * 32
NOTHING = np.empty((0, 2), dtype=np.int64)
EMPTY = TrainingState("ab" * 32, "", [], None, None, "ab" * 32, [], 0, RawTensor("I64", (0,), b""), {})
DEDUPE = parse_policy("screen+dedupe")
OTHER = {"a": "b", "b": "a"}


def text(name: str, inputs: str, target: Label = "x") -> Example:
    return Example(id=name, inputs=inputs, target=target)


def point(name: str, *inputs: float, target: Label = "x") -> Example:
    return Example(id=name, inputs=np.array(inputs, dtype=np.float32), target=target)


def waiting(*rows: Example, admitted: bool = False) -> list[PendingRow]:
    return [PendingRow("ab" * 32, i, 2, PageRow.of(row, "train"), admitted) for i, row in enumerate(rows)]


def join(rows: Sequence[Example], known: np.ndarray = NOTHING, pending: Sequence[PendingRow] = ()) -> Batch:
    return assemble(Book(pending=list(pending)), known, rows, [], key=KEY, share=0.2)


def after(rows: Sequence[Example], policy: str = "screen+dedupe", state: TrainingState = EMPTY) -> TrainingState:
    """The state after these rows were learned; no model is asked."""
    config = Config().override({"curate.policy": policy})
    memory = Memory(schema=state.schema)
    pages = [PageRow.of(row, "held_out" if is_held_out(KEY, row.inputs, 0.2) else "train") for row in rows]
    learned, judging = ([row for row in pages if row.role == role] for role in ("train", "held_out"))
    return replace(state, **as_fields(advance_memory(memory, learned, judging, config, KEY, None)))


def rejected(batch: Batch) -> list[tuple[str, str]]:
    return [(row.id, reason) for row, reason in batch.rejected]


def kept(batch: Batch) -> list[str]:
    return [row.example.id for row in batch.rows]


def grid(side: int, seed: int = 0) -> list[Example]:
    """Points that lie about 1 apart."""
    draw = np.random.default_rng(seed)
    places = [(x, y) for x in range(side) for y in range(side)]
    return [point(f"{x}-{y}", *(np.array([x, y]) + draw.normal(0, 0.1, 2))) for x, y in places]


def test_a_policy_without_it_leaves_duplicates_alone():
    batch = join([text("1", "where is my card"), text("2", "where is my card")])
    leave_out_duplicates(batch, parse_policy("screen+noise+replay:5"), EMPTY)
    assert (kept(batch), batch.rejected) == (["1", "2"], [])


def test_a_batch_without_rows():
    batch = join([])
    leave_out_duplicates(batch, DEDUPE, EMPTY)
    leave_out_duplicates(batch, DEDUPE, after([text("1", "hello you")]))
    assert (batch.rows, batch.rejected) == ([], [])


def test_in_a_first_stage_the_first_of_duplicates_stays():
    rows = [
        text("1", "where is my credit card"),
        text("2", "Where is my credit card?"),
        text("3", "a day at the zoo"),
        text("4", "where is my credit cards"),
    ]
    batch = join(rows)
    leave_out_duplicates(batch, DEDUPE, EMPTY)
    assert kept(batch) == ["1", "3"]
    assert rejected(batch) == [("2", EXACT), ("4", CLOSE)]
    assert batch.received == 4


def test_rows_of_one_input_under_two_labels_go_together():
    batch = join([text("1", "hello", "x"), text("2", "good morning"), text("3", "hello!", "y")])
    leave_out_duplicates(batch, DEDUPE, EMPTY)
    assert kept(batch) == ["2"]
    assert rejected(batch) == [("1", CONFLICT), ("3", CONFLICT)]


def test_labels_of_another_type_are_other_labels():
    batch = join([text("1", "hello", 1), text("2", "hello", "1")])
    leave_out_duplicates(batch, DEDUPE, EMPTY)
    assert {reason for _, reason in rejected(batch)} == {CONFLICT}


def test_learned_rows_are_the_past_of_new_ones_held_out_ones_among_them():
    learned = [text(str(i), f"question number {i} about something") for i in range(40)]
    state = after(learned)
    batch = join([replace(row, id=f"n{row.id}") for row in learned] + [text("new", "quite another thing")])
    assert {row.held_out for row in batch.rows} == {True, False}
    leave_out_duplicates(batch, DEDUPE, state)
    assert kept(batch) == ["new"]
    assert {reason for _, reason in rejected(batch)} == {EXACT}


def test_a_learned_row_stays_where_its_input_comes_under_another_label():
    batch = join([text("2", "hello", "y")])
    leave_out_duplicates(batch, DEDUPE, after([text("1", "hello", "x")]))
    assert rejected(batch) == [("2", CONFLICT)]


def test_pending_rows_are_the_past_of_new_ones_and_stay_themselves():
    pending = waiting(text("1", "hello you"), text("2", "hello you"), text("3", "learned already"))
    batch = join(
        [text("4", "Hello, you"), text("5", "learned already", "y"), text("6", "good morning")], pending=pending
    )
    leave_out_duplicates(batch, DEDUPE, after([text("0", "learned already")]))
    assert kept(batch) == ["1", "2", "3", "6"]
    assert rejected(batch) == [("4", EXACT), ("5", CONFLICT)]


def test_what_a_person_admitted_is_taken_for_granted():
    batch = join([], pending=waiting(text("1", "hello", "y"), admitted=True))
    leave_out_duplicates(batch, DEDUPE, after([text("0", "hello", "x")]))
    assert kept(batch) == ["1"]


def test_a_correction_of_a_learned_row_passes_and_new_rows_are_held_against_it():
    learned = [text("1", "hello", "x"), text("2", "good morning", "x")]
    batch = join([text("1", "hello", "y"), text("3", "hello", "y")], known_rows(learned))
    leave_out_duplicates(batch, DEDUPE, after(learned))
    assert kept(batch) == ["1"]
    assert batch.corrected() == {"1"}
    assert rejected(batch) == [("3", CONFLICT)]


@pytest.mark.parametrize("inputs", ["good morning", "hello"], ids=["other inputs", "other label"])
def test_a_correction_of_a_waiting_row_passes_although_another_row_says_the_same(inputs):
    """Were it rejected, the row would be lost: the one that waited has given way to it."""
    pending = waiting(text("1", "hello", "x"), text("2", "good morning", "x"))
    batch = join([text("1", inputs, "x" if inputs != "hello" else "y")], pending=pending)
    assert [item.row.id for item in batch.replaced] == ["1"]
    leave_out_duplicates(batch, DEDUPE, EMPTY)
    assert (kept(batch), batch.rejected) == (["2", "1"], [])


def test_near_arrays_are_told_by_the_usual_distance_of_the_first_stage():
    state = after(grid(12))
    assert 0.3 < state.schema.apart * 11 < 3  # in units of the columns' widths
    near = [replace(row, id=f"n{row.id}", inputs=row.inputs + 0.004) for row in grid(12)]
    batch = join([*near, point("between", 5.5, 5.5)])
    leave_out_duplicates(batch, DEDUPE, state)
    assert kept(batch) == ["between"]
    assert CLOSE in {reason for _, reason in rejected(batch)} <= {CLOSE, EXACT}


def test_where_dedupe_is_asked_for_later_it_learns_then_how_far_rows_lie_apart():
    state = after(grid(12), policy="screen")
    assert (state.schema.apart, state.prints) == (0.0, {})
    rows = [replace(row, id=f"n{row.id}") for row in grid(12, seed=1)]
    near = [replace(row, id=f"m{row.id}", inputs=row.inputs + 0.004) for row in rows]
    batch = join([*rows, *near[:20]])
    leave_out_duplicates(batch, DEDUPE, state)
    assert len(batch.rejected) == 20
    later = after(rows, state=state)
    assert later.schema == msgspec.structs.replace(state.schema, apart=later.schema.apart)
    assert later.schema.apart > 0
    batch = join(near)
    leave_out_duplicates(batch, DEDUPE, later)
    assert batch.rows == []


@pytest.mark.parametrize(
    "damage",
    [
        {"sketches": RawTensor("F32", (), b"\0" * 4)},
        {"sketches": RawTensor("BF16", (144, 16), b"\0" * (144 * 32))},
        {"sketches": RawTensor("I32", (144, 64), b"\0" * (144 * 256))},
        {"sketches": RawTensor("F32", (144, 16), b"\xff" * (144 * 64))},
        {"sketches": RawTensor("F32", (143, 16), b"\0" * (143 * 64))},
        {"hashes": RawTensor("I64", (144,), b"\0" * (144 * 8))},
        {"hashes": RawTensor("F64", (144, 2), b"\0" * (144 * 16))},
        {"others": RawTensor("I64", (0,), b"")},
    ],
    ids=["no rows", "halves", "of texts", "no numbers", "too few", "one column", "floats", "one more"],
)
def test_prints_that_fit_nothing_are_as_good_as_none(damage):
    state = after(grid(12))
    again = [replace(row, id=f"n{row.id}") for row in grid(12)]
    whole, damaged = join(again), join(again)
    leave_out_duplicates(whole, DEDUPE, state)
    leave_out_duplicates(damaged, DEDUPE, replace(state, prints={**state.prints, **damage}))
    assert (len(whole.rejected), damaged.rejected) == (144, [])


def test_prints_without_a_schema_are_as_good_as_none():
    state = replace(after(grid(12)), schema=None)
    batch = join([replace(row, id=f"n{row.id}") for row in grid(12)])
    leave_out_duplicates(batch, DEDUPE, state)
    assert batch.rejected == []


@pytest.mark.parametrize(
    ("verdict", "waits"), [("promoted", ["x"]), ("undecided", ["y"]), ("refused", ["x"])], ids=lambda value: str(value)
)
def test_a_waiting_row_whose_correction_is_left_out_for_good_waits_as_it_was(verdict, waits):
    """Were it dropped with its correction, the row would be lost."""
    batch = join([text("1", "hello", "y")], pending=waiting(text("1", "hello", "x")))
    batch.rows[0].left_out = REASON
    flags = {"spent": False, "keep_rows": False, "cap": 100, "share": 0.2}
    book, dropped = settle(Book(), batch, "cd" * 32, 3, verdict, "why", **flags)
    assert [item.row.target for item in book.pending] == waits
    assert dropped == 0


# What acts on features.


def curated(
    learner: Learner, batch: Batch, policy: str, counts: dict[Label, int] | None = None
) -> tuple[list[Curated], list[float]]:
    """What was yielded, and the factor of each row."""
    champion = learner.champion()
    events = encode_batch(champion, batch)
    while True:
        try:
            next(events)
        except StopIteration as end:
            encoding = end.value
            break
    config = Config().override({"curate.policy": policy})
    state = replace(EMPTY, counts=list((counts or {}).items()))
    found = list(curate(champion, batch, encoding, config, state))
    return found, [row.example.factor for row in batch.rows]


def examples(rows: Sequence[dict]) -> list[Example]:
    return [point(str(i), *row["inputs"], target=row["label"]) for i, row in enumerate(rows)]


def wrong(rows: Sequence[dict], every: int = 7) -> tuple[list[dict], set[str]]:
    """The rows with some labels changed, and the ids that `examples` gives to those."""
    changed = [{**row, "label": OTHER[row["label"]]} if i % every == 0 else row for i, row in enumerate(rows)]
    return changed, {str(i) for i in range(0, len(rows), every)}


def left_out(batch: Batch) -> set[str]:
    return {row.example.id for row in batch.rows if row.left_out is not None}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return make(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("knowing"))


@pytest.fixture(params=["untrained", "knowing"])
def learner(request):
    """One that knows no label yet, and one that knows a and b."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("policy", ["screen", "screen+dedupe+prune+replay:50", "screen+drift"])
def test_policies_that_do_not_ask_say_nothing(knowing, policy):
    batch = join(examples(wrong(blobs(50, seed=1))[0]))
    assert curated(knowing, batch, policy) == ([], [1.0] * 100)
    assert left_out(batch) == set()


@pytest.mark.parametrize("policy", ["screen+noise", "screen+noise:weigh", "screen+weight"])
def test_where_nothing_can_be_learned_nothing_is_said(knowing, policy):
    batch = join([row for row in examples(blobs(100, seed=1, spread=0.2)) if is_held_out(KEY, row.inputs, 0.2)])
    assert batch.rows
    assert curated(knowing, batch, policy) == ([], [1.0] * len(batch.rows))


def test_wrong_labels_are_left_out_of_what_is_learned_alone(learner):
    rows, changed = wrong(blobs(100, seed=1, spread=0.2))
    batch = join(examples(rows))
    events, factors = curated(learner, batch, "screen+noise")
    judging = {row.example.id for row in batch.rows if row.held_out}
    assert changed & judging
    assert left_out(batch) == changed - judging
    assert events == [Curated(200 - len(judging), {REASON: len(changed - judging)})]
    assert factors == [1.0] * 200
    assert len(batch.training()) == 200 - len(judging | changed)


def test_in_a_large_batch_a_bounded_number_of_rows_is_compared_at_a_time(learner, monkeypatch):
    """Each portion is drawn from all, so that rows that came sorted by label find each other in it."""
    rows, changed = wrong(blobs(300, seed=1, spread=0.2))
    batch = join(sorted(examples(rows), key=lambda row: row.target))
    sizes = []

    def scores(head, features, *others):
        sizes.append(len(features))
        return out_of_fold_scores(head, features, *others)

    monkeypatch.setattr(curation, "TOGETHER", 100)
    monkeypatch.setattr(curation, "out_of_fold_scores", scores)
    curated(learner, batch, "screen+noise")
    judging = {row.example.id for row in batch.rows if row.held_out}
    assert sum(sizes) == 600 - len(judging)
    assert max(sizes) <= 100
    assert len(left_out(batch) ^ (changed - judging)) <= 2


def test_wrong_labels_that_are_weighed_all_stay(learner):
    rows, changed = wrong(blobs(100, seed=1, spread=0.2))
    batch = join(examples(rows))
    events, factors = curated(learner, batch, "screen+noise:weigh")
    assert events == [Curated(sum(not row.held_out for row in batch.rows), {})]
    for row, factor in zip(batch.rows, factors, strict=True):
        if row.held_out:
            assert factor == 1
        else:
            assert factor < 0.5 if row.example.id in changed else factor > 0.5
    assert all(row.example.weight == 1 for row in batch.rows)


def test_right_labels_are_left_alone(learner):
    for policy in ("screen+noise", "screen+noise:weigh"):
        batch = join(examples(blobs(100, seed=2)))
        _, factors = curated(learner, batch, policy)
        assert left_out(batch) == set()
        assert min(factors) > 0.9


@pytest.mark.parametrize("policy", ["screen+noise", "screen+noise:weigh", "screen+weight"])
def test_one_class_alone_is_neither_doubted_nor_weighed(learner, policy):
    batch = join(examples(blobs(60, seed=1, labels="a")))
    events, factors = curated(learner, batch, policy)
    assert [event.reasons for event in events] == [{}]
    assert factors == [1.0] * 60


def test_a_few_rows_are_not_doubted(learner):
    rows, _ = wrong(blobs(9, seed=1))
    batch = join(examples(rows))
    curated(learner, batch, "screen+noise")
    assert left_out(batch) == set()


def test_what_a_person_admitted_is_not_doubted_and_the_others_are(knowing):
    rows, changed = wrong(blobs(100, seed=1, spread=0.2))
    admitted = waiting(*(row for row in examples(rows)[:100]), admitted=True)
    batch = join(examples(rows)[100:], pending=admitted)
    curated(knowing, batch, "screen+noise")
    late = {str(number) for number in range(100, 200)}
    judging = {row.example.id for row in batch.rows if row.held_out}
    assert left_out(batch) == (changed & late) - judging
    everything = join([], pending=waiting(*examples(rows), admitted=True))
    _, factors = curated(knowing, everything, "screen+noise")
    assert left_out(everything) == set()
    _, factors = curated(knowing, everything, "screen+noise:weigh")
    assert set(factors) == {1.0}


def test_what_a_person_admitted_is_balanced_like_the_others(knowing):
    rows = examples(blobs(40, seed=1, labels="a") + blobs(10, seed=1, labels="b"))
    batch = join([], pending=waiting(*rows, admitted=True))
    _, factors = curated(knowing, batch, "screen+weight")
    assert {round(f, 6) for f in factors} != {1.0}


@pytest.mark.parametrize(("count", "doubted"), [(1, False), (FEWEST - 1, False), (FEWEST, True)])
def test_the_first_rows_of_a_label_are_not_held_to_be_wrong(learner, count, doubted, monkeypatch):
    """The first one contradicts everything; a label that the live version knows has had its first rows."""
    monkeypatch.setattr("dripstone.update.curation.wrong_label_probabilities", lambda _, targets: np.ones(len(targets)))
    rows = examples(blobs(count + 40, seed=1, labels="z") + blobs(count + 40, seed=1, labels="a"))
    learned = [row for row in rows if not is_held_out(KEY, row.inputs, 0.2)]
    new, old = ([row for row in learned if row.target == label][:count] for label in "za")
    others = [replace(row, target="b") for row in learned if row.target == "a"][count:]
    batch = join([*new, *old, *others])
    curated(learner, batch, "screen+noise")
    knows = bool(learner.champion().task.labels)
    expected = {row.id for row in others}
    expected |= {row.id for row in new if doubted} | {row.id for row in old if doubted or knows}
    assert left_out(batch) == expected


def test_labels_are_balanced_over_all_rows_so_far(knowing):
    rows = examples(blobs(40, seed=1, labels="a") + blobs(10, seed=1, labels="b"))
    batch = join(rows)
    _, alone = curated(knowing, batch, "screen+weight")
    trained_on = [row for row in batch.rows if not row.held_out]
    targets = [row.example.target for row in trained_on]
    pulls = {
        label: sum(row.example.factor for row in trained_on if row.example.target == label) for label in set(targets)
    }
    assert pulls["a"] == pytest.approx(pulls["b"])
    assert {factor for row, factor in zip(batch.rows, alone, strict=True) if row.held_out} == {1.0}
    later = join(rows)
    number = targets.count("a") - targets.count("b")
    _, even = curated(knowing, later, "screen+weight", counts={"b": number})
    assert even == pytest.approx([1.0] * 50)


def test_the_users_weight_stays_and_the_factors_are_multiplied(knowing):
    rows, _ = wrong(blobs(40, seed=1, labels="a") + blobs(40, seed=3, labels="b"))
    rows = [replace(row, weight=2.0) for row in examples(rows)]
    factors = {}
    for policy in ("noise:weigh", "weight", "noise:weigh+weight", "weight+noise:weigh"):
        batch = join(rows)
        factors[policy] = np.array(curated(knowing, batch, f"screen+{policy}")[1])
        assert {row.example.weight for row in batch.rows} == {2.0}
    both = factors["noise:weigh"] * factors["weight"]
    assert factors["noise:weigh+weight"] == pytest.approx(both)
    assert factors["weight+noise:weigh"] == pytest.approx(both)


def test_what_is_left_out_and_what_is_weighed_makes_another_version(knowing):
    rows = examples(wrong(blobs(40, seed=1))[0])
    prints = set()
    for policy in ("screen", "screen+noise", "screen+noise:weigh"):
        batch = join(rows)
        curated(knowing, batch, policy)
        prints.add(batch.fingerprint())
    assert len(prints) == 3


def test_policies_act_in_the_order_in_which_they_are_written(knowing):
    """Labels are balanced over what noise has left, or before it looks."""
    rows = examples(wrong(blobs(40, seed=1, labels="a") + blobs(40, seed=3, labels="b"), every=5)[0])
    first, last = join(rows), join(rows)
    _, cleaned = curated(knowing, first, "screen+noise+weight")
    _, balanced = curated(knowing, last, "screen+weight+noise")
    assert left_out(first) == left_out(last) != set()
    learned = [row.example for row in first.rows if row.takes_part and not row.held_out]
    pulls = [sum(row.factor for row in learned if row.target == label) for label in "ab"]
    assert pulls[0] == pytest.approx(pulls[1])
    assert cleaned != balanced


def test_features_that_are_no_numbers_are_not_asked(knowing, monkeypatch):
    batch = join(examples(wrong(blobs(50, seed=1))[0]))
    monkeypatch.setattr("dripstone.update.lesson.Encoding.of", lambda *_: torch.full((10, 2), torch.nan))
    monkeypatch.setattr("dripstone.models.head.RandomFourierFeatures.fit", lambda *_: None)
    _, factors = curated(knowing, batch, "screen+noise:weigh")
    assert (left_out(batch), set(factors)) == (set(), {1.0})


@pytest.mark.parametrize("together", [16_384, 250])
def test_a_few_rows_of_a_new_label_are_not_alone_against_their_portion(monkeypatch, together):
    monkeypatch.setattr(curation, "TOGETHER", together)
    draw, known = np.random.default_rng(0), 10
    centres = draw.normal(0, 1.0, (known + 1, 20))
    targets = draw.permutation(np.concatenate([draw.integers(0, known, 2000), np.full(8, known)]))
    features = torch.from_numpy(centres[targets] + draw.normal(0, 0.8, (len(targets), 20))).float()
    places = torch.from_numpy(centres[:known]).float()
    scores = 2 * (features @ places.T - (places**2).sum(dim=1) / 2)
    wrong = curation._wrong(Head(Identity(20), classes=known), features, targets, scores, known + 1, seed=0)
    assert (wrong[targets == known] < 0.5).all()
    assert (wrong > 0.5).mean() < 0.01
