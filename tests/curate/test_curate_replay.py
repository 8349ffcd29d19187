"""The reservoir is a uniform sample of all rows ever offered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.curate.replay import remember


def run(stages, capacity, seed):
    """Offer rows 0, 1, 2, ... in stages of the given sizes."""
    memory, seen = [], 0
    for size in stages:
        memory, seen = remember(memory, seen, range(seen, seen + size), capacity, seed)
    return memory, seen


def chi_square(counts, expected):
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def bound(degrees):
    """The 99.9 % quantile of chi-square, by Wilson and Hilferty (1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 12), st.integers(0, 2**32))
def test_bounded_without_repeats_and_only_of_what_was_offered(stages, capacity, seed):
    memory, seen = run(stages, capacity, seed)
    assert seen == sum(stages)
    assert len(memory) == len(set(memory)) == min(capacity, seen)
    assert set(memory) <= set(range(seen))


@given(st.lists(st.integers(0, 30), max_size=4), st.integers(0, 2**32))
def test_the_same_history_gives_the_same_memory(stages, seed):
    assert run(stages, 5, seed) == run(stages, 5, seed)


def test_other_seeds_give_other_memories():
    assert len({tuple(run([100], 5, seed)[0]) for seed in range(20)}) == 20


def test_stages_of_one_size_do_not_repeat_one_draw():
    replaced = set()
    memory, seen = run([10], 10, 0)
    for _ in range(5):
        before = memory
        memory, seen = remember(memory, seen, range(seen, seen + 10), 10, 0)
        replaced.add(tuple(old == new for old, new in zip(before, memory, strict=True)))
    assert len(replaced) > 1


@pytest.mark.parametrize("stages", [[20], [5, 15], [1] * 20, [7, 0, 13]])
def test_every_row_is_as_likely_whatever_the_stages(stages):
    runs, capacity, rows = 2000, 5, 20
    counts = np.zeros(rows)
    for seed in range(runs):
        counts[run(stages, capacity, seed)[0]] += 1
    assert counts.sum() == runs * capacity
    # A sample without replacement varies less than independent draws: by (rows - capacity) / (rows - 1).
    scaled = chi_square(counts, runs * capacity / rows) * (rows - 1) / (rows - capacity)
    assert scaled < bound(rows - 1)


def test_every_pair_is_as_likely():
    runs, rows = 3000, 6
    counts = dict.fromkeys([(a, b) for a in range(rows) for b in range(a + 1, rows)], 0)
    for seed in range(runs):
        counts[tuple(sorted(run([3, 3], 2, seed)[0]))] += 1
    assert chi_square(list(counts.values()), runs / len(counts)) < bound(len(counts) - 1)


def test_a_lower_capacity_keeps_a_uniform_part():
    runs, rows, capacity = 3000, 12, 3
    counts = np.zeros(rows)
    for seed in range(runs):
        memory, seen = run([rows], 6, seed)
        smaller, seen = remember(memory, seen, [], capacity, seed)
        assert len(smaller) == capacity
        assert set(smaller) <= set(memory)
        counts[smaller] += 1
    scaled = chi_square(counts, runs * capacity / rows) * (rows - 1) / (rows - capacity)
    assert scaled < bound(rows - 1)


def test_where_there_is_room_new_rows_fill_it():
    assert remember(["a"], 1, ["b", "c"], 5, 0) == (["a", "b", "c"], 3)
    assert remember([], 100, ["b"], 5, 0) == (["b"], 101)


def test_no_capacity_remembers_nothing_but_counts():
    assert remember(["a"], 1, ["b"], 0, 0) == ([], 2)


def test_the_given_memory_is_not_touched():
    memory = [1, 2, 3]
    remember(memory, 3, range(50), 3, 0)
    assert memory == [1, 2, 3]
