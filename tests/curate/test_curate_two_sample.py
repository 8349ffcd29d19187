"""The p-value of two samples is exact for exchangeable rows, however they tie, and small where they differ."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.curate import two_sample
from dripstone.curate.two_sample import BLOCKS, LOOK, rank_sum_p, rows_to_look_at, smallest_p, two_sample_p


def pairs_below(places, rows):
    """Of the rows at some places, and the others: pairs in which the one at a place comes first."""
    return sum(other > place for place in places for other in set(range(rows)) - set(places))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 6), (2, 3), (4, 4), (5, 3)])
def test_the_tail_of_the_rank_sum_is_what_counting_all_orders_gives(first, second):
    rows = first + second
    counts = Counter(pairs_below(places, rows) for places in combinations(range(rows), first))
    total = math.comb(rows, first)
    for pairs in range(first * second + 1):
        expected = sum(count for below, count in counts.items() if below <= pairs) / total
        assert rank_sum_p(first, second, pairs) == pytest.approx(expected, rel=1e-12)


def test_the_tail_is_right_to_eleven_digits_far_out():
    smaller, larger = 30, 45
    counts = [1] + [0] * (smaller * larger)
    for i in range(1, smaller + 1):
        for k in range(smaller * larger, larger + i - 1, -1):
            counts[k] -= counts[k - larger - i]
        for k in range(i, smaller * larger + 1):
            counts[k] += counts[k - i]
    assert sum(counts) == math.comb(smaller + larger, smaller)
    for pairs in (0, 5, 60, 200, 500, 675, 1000, 1349, 1350):
        expected = float(Fraction(sum(counts[: pairs + 1]), sum(counts)))
        assert rank_sum_p(larger, smaller, pairs) == pytest.approx(expected, rel=1e-11)


def test_small_samples_by_hand():
    apart = np.zeros((4, 1), np.float32), np.full((4, 1), 9, np.float32)
    assert two_sample_p(apart[0][:2], apart[1][:2], seed=0) == pytest.approx(1 / 2)  # one of either is left to test
    assert two_sample_p(*apart, seed=0) == pytest.approx(1 / 6)  # two blocks; both new rows of one rank highest
    six = np.zeros((6, 1), np.float32), np.full((6, 1), 9, np.float32)
    product = Fraction(1, 36)  # two of three blocks
    assert two_sample_p(*six, seed=0) == pytest.approx(float(product) * (1 - math.log(product)))


@pytest.mark.parametrize("sizes", [(2, 2), (4, 4), (6, 6), (1000, 2), (1000, 7), (30, 400), (1000, 40)])
def test_no_sample_has_a_smaller_p_value_than_the_smallest(sizes):
    reference = np.zeros((sizes[0], 2), np.float32)
    new = np.ones((sizes[1], 2), np.float32)
    assert two_sample_p(reference, new, seed=0) == pytest.approx(smallest_p(*sizes))


def test_more_rows_than_are_looked_at_add_nothing_to_the_smallest():
    assert smallest_p(10 * LOOK, 10 * LOOK) == smallest_p(LOOK, LOOK) > 0


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (1, 500), (500, 1)])
def test_one_row_tells_nothing(sizes):
    samples = [np.full((rows, 3), value, np.float32) for rows, value in zip(sizes, (0, 9), strict=True)]
    assert two_sample_p(*samples, seed=0) == smallest_p(*sizes) == 1.0


def gaussian(random, rows):
    return random.normal(size=(rows, 5))


def mostly_zeros(random, rows):
    return (random.random((rows, 5)) < 0.1).astype(float)


def three_kinds(random, rows):
    """The same rows again and again, wide enough that a sum over them rounds."""
    kinds = np.random.default_rng(0).normal(size=(3, 300))
    return kinds[random.integers(3, size=rows)]


def constant(random, rows):
    return np.full((rows, 5), 0.1)


def with_outliers(random, rows):
    return random.standard_cauchy((rows, 5)) ** 3


@pytest.mark.parametrize("source", [gaussian, mostly_zeros, three_kinds, constant, with_outliers])
@pytest.mark.parametrize("sizes", [(40, 30), (60, 9)])
def test_false_alarms_are_as_rare_as_claimed(source, sizes):
    runs = 500
    tails = []
    for run in range(runs):
        random = np.random.default_rng((run, 1))
        rows = source(random, sum(sizes)).astype(np.float32)
        tails.append(two_sample_p(rows[: sizes[0]], rows[sizes[0] :], seed=run))
    for level in (0.01, 0.05, 0.2, 0.5):
        allowed = runs * level + 3.5 * math.sqrt(runs * level * (1 - level))
        assert sum(tail <= level for tail in tails) <= allowed


def test_the_test_is_not_cautious_where_blocks_are_large():
    tails = []
    for run in range(400):
        rows = gaussian(np.random.default_rng((run, 2)), 240).astype(np.float32)
        tails.append(two_sample_p(rows[:140], rows[140:], seed=run))
    # 0.2 of 400, less three and a half deviations and a tenth for what ranks leave out.
    assert sum(tail <= 0.2 for tail in tails) >= 0.9 * 80 - 3.5 * 8


def test_rows_that_stand_in_both_samples_are_no_difference():
    rows = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
    assert two_sample_p(rows, rows.copy(), seed=0) > 0.01


def blank_cluster(random, rows):
    rows = rows.copy()
    rows[: len(rows) // 3] = random.normal(3, 0.3, size=(len(rows) // 3, rows.shape[1]))
    return random.permutation(rows)


SHIFTS = {
    "mean": lambda random, rows: rows + 0.4,
    "deviation": lambda random, rows: rows * 1.3,
    "smaller deviation": lambda random, rows: rows * 0.75,
    "cluster": blank_cluster,
    "permuted": lambda random, rows: rows[:, random.permutation(rows.shape[1])],
    "one value": lambda random, rows: np.zeros_like(rows),
}


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("width", [64, 600])
def test_a_hundred_rows_show_a_clear_shift(shift, width):
    random = np.random.default_rng(3)
    # Neighbouring features are alike, so that a permutation changes nothing but which ones are.
    rows = np.repeat(random.normal(size=(600, width // 4)), 4, axis=1) + 0.5 * random.normal(size=(600, width))
    new = SHIFTS[shift](random, rows[500:])
    assert two_sample_p(rows[:500].astype(np.float32), new.astype(np.float32), seed=0) < 1e-7


def test_a_late_level_is_within_reach_of_ten_rows():
    random = np.random.default_rng(4)
    reference, new = random.normal(size=(1000, 64)), random.normal(1, size=(10, 64))
    assert two_sample_p(reference.astype(np.float32), new.astype(np.float32), seed=0) < 0.05 / (500 * 501)


@given(st.integers(0, 2**63), st.integers(-20, 60))
def test_the_same_seed_gives_the_same_p_whatever_the_unit(seed, exponent):
    random = np.random.default_rng(5)
    reference, new = (random.normal(size=(rows, 3)).astype(np.float32) for rows in (20, 8))
    unit = np.float32(2.0**exponent)
    assert two_sample_p(reference * unit, new * unit, seed) == two_sample_p(reference, new, seed)


def test_seeds_deal_the_rows_in_other_ways():
    random = np.random.default_rng(6)
    reference, new = random.normal(size=(50, 3)), random.normal(size=(30, 3))
    assert len({two_sample_p(reference, new, seed) for seed in range(8)}) > 4


def test_an_extreme_scale_beside_an_ordinary_one_hides_no_shift():
    random = np.random.default_rng(7)
    reference, new = random.normal(size=(200, 8)), random.normal(1.5, size=(60, 8))
    scales = np.array([1e-30, 1, 1, 1, 1, 1, 1, 1e30])
    assert two_sample_p((reference * scales).astype(np.float32), (new * scales).astype(np.float32), seed=0) < 1e-6


def test_the_samples_are_left_as_they_were():
    random = np.random.default_rng(8)
    samples = [random.normal(size=(rows, 3)).astype(np.float32) for rows in (20, 8)]
    before = [sample.copy() for sample in samples]
    two_sample_p(*samples, seed=0)
    assert all((now == then).all() for now, then in zip(samples, before, strict=True))


def test_rows_looked_at_are_bounded(monkeypatch):
    looked_at = []
    nearness = two_sample._nearness
    monkeypatch.setattr(two_sample, "_nearness", lambda rows: looked_at.append(len(rows)) or nearness(rows))
    many = np.random.default_rng(9).normal(size=(100_000, 1)).astype(np.float32)
    assert two_sample_p(many[:5000], many, seed=0) > 1e-4
    assert looked_at == [2 * LOOK]


@pytest.mark.parametrize("rows", [LOOK + 1, 2 * LOOK - 1, 2 * LOOK, 99_999])
def test_one_row_of_every_stretch_is_looked_at(rows):
    looked_at = rows_to_look_at(rows, seed=1)
    assert len(looked_at) == LOOK
    assert (np.diff(looked_at) > 0).all()
    assert looked_at[0] >= 0
    assert looked_at[-1] < rows
    assert np.abs(looked_at - np.arange(LOOK) * rows / LOOK).max() <= rows / LOOK + 1


def test_rows_that_come_in_turn_are_all_looked_at():
    in_turn = rows_to_look_at(10 * LOOK, seed=2) % 10
    assert np.bincount(in_turn, minlength=10).min() > 60


def test_every_block_has_rows_of_both_samples():
    for reference in range(2, 40):
        for new in range(2, 40):
            blocks = two_sample._blocks(reference, new)
            assert 2 <= blocks <= min(BLOCKS, reference, new)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_refused(wrong):
    rows = np.zeros((10, 2), np.float32)
    broken = rows.copy()
    broken[3, 1] = wrong
    for samples in ((rows, broken), (broken, rows)):
        with pytest.raises(ValueError, match="finite"):
            two_sample_p(*samples, seed=0)


def test_samples_of_other_widths_are_refused():
    with pytest.raises(ValueError, match=r"not \[4, 2\] and \[4, 3\]"):
        two_sample_p(np.zeros((4, 2)), np.zeros((4, 3)), seed=0)
    with pytest.raises(ValueError, match=r"not \[4\] and \[4\]"):
        two_sample_p(np.zeros(4), np.zeros(4), seed=0)
