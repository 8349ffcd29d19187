"""Which trusted rows stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dripstone.gate.trusted import keep_trusted, newest_trusted

LABELS = st.lists(st.one_of(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=80)


@given(LABELS, st.integers(1, 100))
def test_the_newest_of_each_class_as_even_as_can_be(targets, cap):
    kept = keep_trusted(targets, cap)
    assert kept == sorted(set(kept))
    assert len(kept) == min(len(targets), cap)
    sizes, left = Counter(targets), Counter(targets[index] for index in kept)
    for label, size in sizes.items():
        rows = [index for index, target in enumerate(targets) if target == label]
        assert [index for index in kept if targets[index] == label] == rows[size - left[label] :]
        if left[label] < size:
            assert left[label] >= max(left.values()) - 1


def test_small_classes_keep_all_they_have():
    kept = keep_trusted(["big"] * 90 + ["small"] * 3 + ["big"] * 7, cap=10)
    assert kept == [90, 91, 92, *range(93, 100)]


def test_more_classes_than_room():
    assert keep_trusted(["a", "b", "c", "a"], cap=1) == [3]
    assert keep_trusted([], cap=5) == []


def test_capping_again_and_again_keeps_the_cap():
    targets: list[str] = []
    for stage in range(10):
        rows = [*targets, *[f"c{stage}"] * 30]
        targets = [rows[index] for index in keep_trusted(rows, cap=50)]
    assert Counter(targets) == {f"c{stage}": 5 for stage in range(10)}


def test_the_newest_rows_and_those_of_each_class():
    targets = np.repeat([0, 1, 2], [500, 30, 100])
    newest = newest_trusted(targets, count=50, of_each=20)
    assert [int(newest[targets == code].sum()) for code in range(3)] == [20, 20, 50]
    assert newest[-50:].all()
    assert newest_trusted(targets[:10], count=50, of_each=20).all()
    assert newest_trusted(targets[:0], count=50, of_each=20).shape == (0,)
