"""Slices: every row in its place, whatever its value is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.gate.slices import part_rows, slice_means

VALUES = st.one_of(st.none(), st.sampled_from(["", "eu", "us", "None", "e u"]), st.integers(-2, 2))


@given(st.lists(VALUES, max_size=40))
def test_rows_of_one_value_share_a_code_and_none_has_none(values):
    parted = part_rows("slice", values)
    assert parted.codes.dtype == np.int64
    assert len(parted.codes) == len(values)
    for value, code in zip(values, parted.codes, strict=True):
        assert (value is None) == (code == -1)
        assert value is None or parted.names[code] == f"slice {value}"
    for one, other in zip(range(len(values)), range(1, len(values)), strict=False):
        if values[one] is not None and values[other] is not None:
            assert (parted.codes[one] == parted.codes[other]) == (values[one] == values[other])


def test_values_need_not_be_texts():
    parted = part_rows("class", [7, "7a", 0, 7, ("eu", 1), 2.5, None])
    assert parted.names == ["class 7", "class 7a", "class 0", "class ('eu', 1)", "class 2.5"]
    assert parted.codes.tolist() == [0, 1, 2, 0, 3, 4, -1]


def test_no_rows_and_no_values_make_no_slices():
    for parted in (part_rows("slice", []), part_rows("slice", [None, None])):
        assert parted.names == []
        assert slice_means(np.ones(len(parted.codes)), None, [parted]) == {}
    assert slice_means(np.empty(0), None, []) == {}


def test_some_rows_keep_their_names():
    some = part_rows("slice", ["a", "b", None, "a"]).select(np.array([3, 1, 2]))
    assert some.names == ["slice a", "slice b"]
    assert some.codes.tolist() == [0, 1, -1]
    assert slice_means(np.array([1]), None, [some.select(np.array([0]))]) == {"slice a": 1.0}


@given(st.lists(st.tuples(VALUES, st.floats(0, 1), st.sampled_from([0.0, 0.25, 1.0])), max_size=30), st.booleans())
def test_means_are_those_of_the_rows(rows, weighted):
    values = np.array([row[1] for row in rows])
    weights = np.array([row[2] for row in rows]) if weighted else None
    parted = part_rows("slice", [row[0] for row in rows])
    found = slice_means(values, weights, [parted])
    heavy = np.ones(len(rows)) if weights is None else weights
    expected = {}
    for code, name in enumerate(parted.names):
        inside = parted.codes == code
        if heavy[inside].sum():
            expected[name] = np.average(values[inside], weights=heavy[inside])
    assert found == pytest.approx(expected)
    assert all(type(mean) is float for mean in found.values())


def test_several_columns_are_measured_side_by_side():
    classes, places = part_rows("class", ["a", "b", "a"]), part_rows("slice", ["a", None, "b"])
    found = slice_means(np.array([True, False, False]), None, [classes, places])
    assert found == {"class a": 0.5, "class b": 0.0, "slice a": 1.0, "slice b": 0.0}
