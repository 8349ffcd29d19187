"""Portions: bounded in rows and bytes, lazy, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.examples import Example
from dripstone.stream.portions import portions


def example(inputs):
    return Example(id="", inputs=inputs)


def arrays(sizes):
    return [example(np.zeros(size, dtype=np.float32)) for size in sizes]


def test_at_most_so_many_rows():
    assert [len(portion) for portion in portions(arrays([1] * 7), rows=3)] == [3, 3, 1]
    assert [len(portion) for portion in portions(arrays([1] * 6), rows=3)] == [3, 3]


def test_at_most_so_many_bytes():
    assert [len(portion) for portion in portions(arrays([2, 2, 2, 3, 1]), rows=9, size=16)] == [2, 1, 2]
    texts = [example("a" * 100), example("a" * 100), example("ä" * 100)]
    assert [len(portion) for portion in portions(texts, rows=9, size=400)] == [2, 1]


def test_a_row_that_is_too_large_comes_alone():
    assert [len(portion) for portion in portions(arrays([1, 1, 99, 1, 1]), rows=9, size=16)] == [2, 1, 2]


def test_nothing_makes_nothing():
    assert list(portions([], rows=3)) == []


def test_no_more_is_drawn_than_a_portion_needs():
    drawn = []

    def stream():
        for row in arrays([1] * 9):
            drawn.append(row)
            yield row

    cut = portions(stream(), rows=3)
    assert len(drawn) == 0
    next(cut)
    assert len(drawn) == 3
    next(cut)
    assert len(drawn) == 6


def test_a_portion_of_no_rows():
    with pytest.raises(ValueError, match="a portion cannot have 0 rows"):
        next(portions([], rows=0))


@given(st.lists(st.integers(0, 20), max_size=40), st.integers(1, 10), st.integers(1, 100))
def test_every_row_once_in_its_order_and_within_bounds(sizes, rows, size):
    stream = arrays(sizes)
    cut = list(portions(stream, rows, size))
    assert [row for portion in cut for row in portion] == stream
    for portion in cut:
        assert 1 <= len(portion) <= rows
        assert len(portion) == 1 or sum(row.inputs.nbytes for row in portion) <= size
