"""What the first stage looked like, and what is too far from it."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.core.records import Schema
from dripstone.curate.schema import FEWEST_ROWS, LONGER, MAX_COLUMNS, SHORT, WIDTHS, learn_schema, oddity


def many(rows):
    """As many as it takes to set bounds."""
    return [*rows] * FEWEST_ROWS


def test_a_few_rows_set_no_bounds():
    rows = [np.full(2, row % 2) for row in range(FEWEST_ROWS)]
    assert oddity(np.full(2, 1e6), learn_schema(rows[1:])) is None
    assert oddity(np.full(2, 1e6), learn_schema(rows)) is not None


def test_no_rows_have_no_schema():
    assert learn_schema([]) is None


def test_texts_have_a_longest_one():
    assert learn_schema(["a", "abc", ""]) == Schema(rows=3, longest=3)


def test_a_text_is_too_long_only_far_beyond_the_longest():
    short, long = learn_schema(many(["a"])), learn_schema(many(["a" * 1000]))
    assert oddity("a" * SHORT, short) is None
    assert "longer than 2,000 characters, where the first rows had 1 at most" in oddity("a" * (SHORT + 1), short)
    assert oddity("a" * (LONGER * 1000), long) is None
    assert oddity("a" * (LONGER * 1000 + 1), long) is not None


def test_each_column_of_a_table_has_its_own_bounds():
    schema = learn_schema(many([np.array([0.0, 100.0]), np.array([1.0, 300.0])]))
    assert (schema.low, schema.high) == ([0.0, 100.0], [1.0, 300.0])
    assert oddity(np.array([1.0 + WIDTHS, 300.0 + WIDTHS * 300]), schema) is None
    assert "column 1 of the input" in oddity(np.array([1.1 + WIDTHS, 100.0]), schema)
    assert "column 2 of the input" in oddity(np.array([0.0, 301.0 + WIDTHS * 300]), schema)
    assert "(100 to 300)" in oddity(np.array([0.0, -10_000.0]), schema)


def test_a_column_that_varied_little_beside_its_size_may_grow_with_it():
    schema = learn_schema(many([np.array([2011.0]), np.array([2012.0])]))
    assert oddity(np.array([2050.0]), schema) is None
    assert oddity(np.array([99_999.0]), schema) is not None


def test_a_column_that_did_not_vary_has_no_bounds():
    schema = learn_schema(many([np.array([0.0, 1.0]), np.array([1.0, 1.0])]))
    assert oddity(np.array([0.5, 12.0]), schema) is None  # the months after the first
    assert oddity(np.array([99.0, 1.0]), schema) is not None


@pytest.mark.parametrize("shape", [(2, 3), (MAX_COLUMNS + 1,)])
def test_pictures_and_very_wide_rows_have_one_pair_of_bounds(shape):
    rows = [np.zeros(shape), np.ones(shape)]
    schema = learn_schema(many(rows))
    assert (schema.low, schema.high) == ([0.0], [1.0])
    odd = np.zeros(shape)
    odd.flat[-1] = 12.0
    assert oddity(odd, schema) == "a value of the input is far from what the first rows had (0 to 1)"
    assert oddity(rows[1], schema) is None


def test_the_same_values_in_another_shape_are_judged_alike():
    schema = learn_schema(many([np.zeros(4), np.ones((2, 2))]))
    assert oddity(np.ones((2, 2)), schema) is None
    assert oddity(np.full((2, 2), 99.0), schema) is not None
    flat = learn_schema(many([np.zeros(4), np.ones(4)]))
    assert oddity(np.full(3, 99.0), flat) is None  # no row of this schema: other checks see to it


def test_the_schema_does_not_hang_on_the_order_of_rows():
    rows = [np.zeros(4), np.full((2, 2), 5.0), np.full((4, 1), -1.0)]
    assert learn_schema(rows) == learn_schema(rows[::-1]) == Schema(rows=3, low=[-1.0], high=[5.0])


def test_rows_of_several_sizes_share_one_pair_of_bounds():
    assert learn_schema([np.zeros(4), np.ones(6)]) == Schema(rows=2, low=[0.0], high=[1.0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_single_value_is_a_row(shape):
    schema = learn_schema(many([np.full(shape, 2.0), np.full(shape, 3.0)]))
    assert (schema.low, schema.high) == ([2.0], [3.0])
    assert oddity(np.full(shape, 3 + WIDTHS * 3), schema) is None
    assert "column 1" in oddity(np.full(shape, 4 + WIDTHS * 3), schema)


def test_bounds_of_the_largest_numbers():
    largest = np.float32(np.finfo(np.float32).max)
    schema = learn_schema(many([np.array([largest, 0.0], np.float32), np.array([-largest, 1.0], np.float32)]))
    assert oddity(np.array([largest, 1.0], np.float32), schema) is None
    small = learn_schema(many([np.zeros(2, np.float32), np.ones(2, np.float32)]))
    assert "column 2" in oddity(np.array([0.0, -largest], np.float32), small)


def test_honest_rows_of_later_classes_pass():
    from sklearn.datasets import load_digits

    pictures, digits = load_digits(return_X_y=True)
    schema = learn_schema(list(pictures[digits < 2]))
    assert not any(oddity(picture, schema) for picture in pictures)
