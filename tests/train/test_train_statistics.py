"""Statistics: the same in any order and portions, rows that go again, stored bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from closed_form_samples import (
    CLASSES,
    PENALTY,
    SIZES,
    at_once,
    collect,
    difference,
    plain_head,
    problem,
    random_head,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.core.bits import to_raw
from dripstone.core.errors import StoreError
from dripstone.core.tensors import RawTensor
from dripstone.train.solve import solve
from dripstone.train.statistics import (
    BLOCK,
    CHUNK,
    KeptRows,
    Sums,
    add_rows,
    fits,
    no_rows,
    read_statistics,
    to_sums,
)


def tensors(statistics) -> list[torch.Tensor]:
    if isinstance(statistics, KeptRows):
        return [statistics.features, statistics.targets, statistics.weights]
    return [statistics.gram, statistics.cross]


def dense(sums: Sums) -> torch.Tensor:
    gram = torch.zeros(len(sums.cross), len(sums.cross), dtype=torch.float64)
    for rows, block in sums.blocks():
        gram[rows, : rows.stop] = block
    return gram


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(40)),
    st.sets(st.integers(0, 40), max_size=6),
    st.sampled_from(SIZES),
    st.sets(st.integers(0, 39), max_size=20),
    st.integers(0, 5),
)
def test_any_order_and_portions_and_rows_that_went_give_the_batch_solution(order, cuts, size, gone, seed):
    features, targets, weights = problem(40, size, seed)
    head = plain_head(CLASSES, size)
    portions = [list(part) for part in np.split(np.array(order), sorted(cuts))]
    statistics = collect((features, targets, weights), head, portions)
    out = sorted(gone)
    statistics = add_rows(statistics, head, features[out], targets[out], -weights[out])
    assert isinstance(statistics, KeptRows) == (size == 200 or (size == 60 and int((weights > 0).sum()) <= 30))
    weights[out] = 0
    if not weights.any():
        return
    expected = at_once((features, targets, weights), head)
    assert difference(solve(statistics, head, PENALTY).weights, expected) < 1e-9


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(90)), st.sets(st.integers(0, 90), max_size=4), st.sampled_from([32, 512]))
def test_random_features_in_any_portions_give_the_batch_solution(order, cuts, random_features):
    rows = problem(90)
    head = random_head(rows[0], random_features)
    portions = [list(part) for part in np.split(np.array(order), sorted(cuts))]
    solution = solve(collect(rows, head, portions), head, PENALTY)
    # The cosines are float32, and their last bit depends on how many rows are expanded at a time.
    assert difference(solution.weights, at_once(rows, head)) < 1e-5


def test_more_rows_than_are_expanded_at_a_time():
    rows = problem(2 * CHUNK + 100)
    head = random_head(rows[0], 128)
    portions = [range(7), range(7, 7), range(7, 7 + CHUNK), range(7 + CHUNK, len(rows[1]))]
    solution = solve(collect(rows, head, [list(p) for p in portions]), head, PENALTY)
    assert difference(solution.weights, at_once(rows, head)) < 1e-5


@pytest.mark.parametrize("rows", [90, BLOCK + 90])
def test_rows_and_sums_say_the_same(rows):
    sample = problem(rows)
    head = random_head(sample[0], 4 * rows)
    kept = collect(sample, head)
    assert isinstance(kept, KeptRows)
    expected = solve(to_sums(kept, head), head, PENALTY)
    assert difference(solve(kept, head, PENALTY).weights, expected.weights.numpy()) < 1e-9


@pytest.mark.parametrize("size", [19, 20])
def test_rows_are_kept_up_to_half_the_columns(size):
    features, targets, _ = problem(11, size)
    head, ones = plain_head(CLASSES, size), torch.ones(11)
    kept = collect((features[:10], targets[:10], ones[:10]), head)
    more = add_rows(kept, head, features[10:], targets[10:], ones[10:])
    assert (type(kept), type(more)) == (KeptRows, Sums)
    assert isinstance(add_rows(more, head, features, targets, -ones), Sums)


def test_rows_of_no_weight_are_not_kept():
    features, targets, _ = problem(12, 200)
    weights = torch.tensor([0.0, 1.0, 2.0] * 4)
    kept = collect((features, targets, weights), plain_head(CLASSES, 200))
    assert kept.weights.tolist() == [1.0, 2.0] * 4
    assert torch.equal(kept.features, features[weights > 0])


@pytest.mark.parametrize("size", SIZES)
def test_a_row_of_weight_two_is_two_rows(size):
    features, targets, weights = problem(12, size)
    head = plain_head(CLASSES, size)
    repeated = [row for row in range(12) for _ in range(int(weights[row]))]
    once = to_sums(collect((features, targets, weights), head), head)
    often = to_sums(collect((features[repeated], targets[repeated], torch.ones(len(repeated))), head), head)
    assert torch.allclose(once.gram, often.gram, rtol=0, atol=1e-10)
    assert torch.allclose(once.cross, often.cross, rtol=0, atol=1e-10)


def test_new_classes_leave_old_columns_as_they_were():
    features, targets, weights = problem(40)
    head = plain_head(CLASSES)
    old = collect((features[:20], targets[:20], weights[:20]), head)
    new = collect((features, targets, weights), head, [list(range(20)), list(range(20, 40))])
    assert old.cross.shape[1] == 2
    assert new.cross[-1].tolist() == pytest.approx([float(weights[targets == label].sum()) for label in range(4)])
    unchanged = add_rows(old, head, features[:0], targets[:0], weights[:0])
    assert torch.equal(unchanged.cross[:, :2], old.cross)
    assert not unchanged.cross[:, 2:].any()


def kept_and_head(rows: int = 12):
    features, targets, _ = problem(rows, 200)
    head = plain_head(CLASSES, 200)
    weights = torch.linspace(0.5, 1.5, rows, dtype=torch.float64)
    return collect((features, targets, weights), head), head


def test_a_kept_row_goes_as_it_came():
    kept, head = kept_and_head()
    less = add_rows(kept, head, kept.features[[3, 7]], kept.targets[[3, 7]], -kept.weights[[3, 7]])
    stay = [0, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    assert all(torch.equal(a, b[stay]) for a, b in zip(tensors(less), tensors(kept), strict=True))


def test_a_row_that_came_twice_goes_once():
    kept, head = kept_and_head()
    row = kept.features[3:4], kept.targets[3:4], kept.weights[3:4]
    twice = add_rows(kept, head, *row)
    once = add_rows(twice, head, row[0], row[1], -row[2])
    assert len(once.weights) == len(kept.weights)
    none = add_rows(twice, head, *(torch.cat([part, part]) for part in (row[0], row[1], -row[2])))
    assert len(none.weights) == len(kept.weights) - 1


def test_last_bits_of_a_feature_hide_no_row():
    kept, head = kept_and_head()
    near = kept.features[5:6] * (1 + 1e-6)
    twins = add_rows(kept, head, kept.features[5:6] * (1 + 4e-6), kept.targets[5:6], kept.weights[5:6])
    less = add_rows(twins, head, near, kept.targets[5:6], -kept.weights[5:6])
    stay = [row for row in range(13) if row != 5]
    assert torch.equal(less.features, twins.features[stay])


OTHER_ROWS = {
    "features": lambda features, target, weight: (features * 1.001, target, weight),
    "target": lambda features, target, weight: (features, (target + 1) % CLASSES, weight),
    "weight": lambda features, target, weight: (features, target, weight * (1 + 1e-9)),
    "not finite": lambda features, target, weight: (features * torch.nan, target, weight),
}


@pytest.mark.parametrize("other", OTHER_ROWS)
def test_a_row_that_is_not_kept_goes_out_of_the_sums(other):
    kept, head = kept_and_head()
    features, targets, weights = OTHER_ROWS[other](kept.features[5:6], kept.targets[5:6], kept.weights[5:6])
    less = add_rows(kept, head, features, targets, -weights)
    expected = add_rows(to_sums(kept, head), head, features, targets, -weights)
    assert isinstance(less, Sums)
    assert torch.equal(less.gram.nan_to_num(), expected.gram.nan_to_num())


@pytest.mark.parametrize("size", SIZES)
def test_adding_rows_leaves_what_was_given_untouched(size):
    features, targets, weights = problem(25, size)
    head = plain_head(CLASSES, size)
    first = collect((features, targets, weights), head)
    given_ = [*tensors(first), features, targets, weights]
    before = [tensor.clone() for tensor in given_]
    add_rows(first, plain_head(CLASSES + 1, size), features, targets, weights)
    add_rows(first, head, features, targets, -weights)
    assert all(torch.equal(a, b) for a, b in zip(before, given_, strict=True))


def test_kept_rows_do_not_share_memory_with_what_was_given():
    features, targets, _ = problem(4, 200)
    head = plain_head(CLASSES, 200)
    kept = add_rows(no_rows(), head, features, targets, torch.ones(4))
    before = kept.features.clone()
    features.zero_()
    assert torch.equal(kept.features, before)


@pytest.mark.parametrize("size", SIZES)
def test_adding_no_rows_changes_no_bit(size):
    features, targets, weights = problem(40, size)
    head = plain_head(CLASSES, size)
    first = collect((features, targets, weights), head)
    again = add_rows(first, head, torch.empty(0, 0), targets[:0], weights[:0])
    assert again.to_raw() == first.to_raw()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_statistics_come_back_bit_for_bit(rows, size):
    features, targets, _ = problem(max(rows, 1), size)
    generator = torch.Generator().manual_seed(1)
    odd_weights = torch.rand(rows, generator=generator, dtype=torch.float64)
    statistics = collect((features[:rows], targets[:rows], odd_weights), plain_head(CLASSES, size))
    back = read_statistics(statistics.to_raw())
    assert type(back) is type(statistics)
    for a, b in zip(tensors(back), tensors(statistics), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert torch.equal(a, b)
    assert back.to_raw() == statistics.to_raw()


def test_sums_that_earlier_versions_stored_are_read():
    """They kept the whole matrix in memory, and of it these parts in the store."""
    rows = problem(40)
    head = random_head(rows[0], 2 * BLOCK)
    sums = to_sums(collect(rows, head), head)
    whole = dense(sums).tril()
    whole = whole + whole.tril(-1).T
    parts = [whole[start : start + BLOCK, : start + BLOCK].reshape(-1) for start in range(0, len(whole), BLOCK)]
    stored = {"gram": to_raw(torch.cat(parts)), "cross": to_raw(sums.cross)}
    back = read_statistics(stored)
    assert torch.allclose(back.gram, sums.gram, rtol=0, atol=1e-12)
    assert back.to_raw() == stored


def test_little_more_than_half_of_the_gram_matrix_is_stored():
    (packed,) = to_sums(no_rows(), plain_head(0, 4 * BLOCK - 1)).to_raw()["gram"].shape
    assert packed == (4 * BLOCK) ** 2 * 5 / 8


DAMAGED_SUMS = {
    "missing": lambda raw: {"gram": raw["gram"]},
    "more": lambda raw: {**raw, "other": raw["cross"]},
    "none": lambda raw: {},
    "short gram": lambda raw: {**raw, "gram": RawTensor("F64", (3,), bytes(24))},
    "scalar gram": lambda raw: {**raw, "gram": RawTensor("F64", (), bytes(8))},
    "flat cross": lambda raw: {**raw, "cross": RawTensor("F64", (28,), raw["cross"].data)},
    "huge and empty": lambda raw: {**raw, "cross": RawTensor("F64", (10**9, 0), b"")},
    "no features": lambda raw: {"gram": RawTensor("F64", (0,), b""), "cross": RawTensor("F64", (0, 0), b"")},
    "float32": lambda raw: {**raw, "gram": raw["gram"]._replace(dtype="F32")},
}

DAMAGED_ROWS = {
    "missing": lambda raw: {"features": raw["features"], "targets": raw["targets"]},
    "more": lambda raw: {**raw, "cross": raw["weights"]},
    "fewer targets": lambda raw: {**raw, "targets": RawTensor("I64", (7,), bytes(56))},
    "fewer weights": lambda raw: {**raw, "weights": RawTensor("F64", (7,), bytes(56))},
    "flat features": lambda raw: {**raw, "features": RawTensor("F32", (1600,), raw["features"].data)},
    "scalar features": lambda raw: {**raw, "features": RawTensor("F32", (), bytes(4))},
    "float64": lambda raw: {**raw, "features": raw["features"]._replace(dtype="F64")},
    "weight of 0": lambda raw: {**raw, "weights": to_raw(torch.tensor([1.0] * 7 + [0.0]).double())},
    "weight not finite": lambda raw: {**raw, "weights": to_raw(torch.tensor([1.0] * 7 + [torch.inf]).double())},
    "negative target": lambda raw: {**raw, "targets": to_raw(torch.tensor([0] * 7 + [-1]))},
}


def stored(size: int) -> dict[str, RawTensor]:
    features, targets, _ = problem(8, size)
    return collect((features, targets, torch.ones(8)), plain_head(CLASSES, size)).to_raw()


@pytest.mark.parametrize(
    ("size", "damage"), [*((6, name) for name in DAMAGED_SUMS), *((200, name) for name in DAMAGED_ROWS)]
)
def test_damaged_statistics_are_refused(size, damage):
    broken = (DAMAGED_SUMS if size == 6 else DAMAGED_ROWS)[damage](stored(size))
    with pytest.raises(StoreError, match="do not fit together") as caught:
        read_statistics(broken)
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize("size", [6, 200])
def test_statistics_fit_their_head_and_no_other(size):
    raw = stored(size)
    assert fits(raw, plain_head(CLASSES, size))
    assert fits(raw, plain_head(CLASSES + 1, size))
    assert not fits(raw, plain_head(CLASSES - 1, size))
    assert not fits(raw, plain_head(CLASSES, size + 1))
    assert fits({}, plain_head(0, size))
    assert not fits({"gram": raw.get("gram", raw[min(raw)])}, plain_head(CLASSES, size))
    assert not fits({"cross": RawTensor("F64", (), bytes(8))}, plain_head(CLASSES, size))


def test_no_rows_fit_any_head():
    raw = no_rows().to_raw()
    assert fits(raw, plain_head(0))
    assert fits(raw, random_head(torch.eye(3), 8))


def test_kept_rows_fit_by_what_goes_into_the_expansion():
    rows = problem(9)
    head = random_head(rows[0], 512)
    raw = collect(rows, head).to_raw()
    assert set(raw) == {"features", "targets", "weights"}
    assert fits(raw, head)
    assert not fits(raw, random_head(torch.eye(5), 512))
