"""Class balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.curate.weight import LARGEST, class_factors


def test_each_label_pulls_alike():
    targets = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    factors = class_factors(targets, {})
    sums = [factors[[target == label for target in targets]].sum() for label in "abc"]
    assert sums == pytest.approx([100 / 3] * 3)


def test_rows_that_were_learned_before_count():
    assert class_factors(["a", "b"], {"a": 97, "b": 1}).tolist() == pytest.approx([100 / 2 / 98, LARGEST])
    assert class_factors(["a"], {"b": 1, "c": 1}).tolist() == [1.0]
    assert class_factors(["a", "b"], {"a": 2, "b": 2}).tolist() == [1.0, 1.0]
    assert class_factors(["a", "b"], {"b": 2}).tolist() == pytest.approx([2.0, 2 / 3])


def test_the_rarest_label_has_a_limit():
    assert class_factors(["a"] * 999 + ["b"], {})[-1] == LARGEST


@given(st.lists(st.sampled_from(["a", 1, "1"]), max_size=40))
def test_the_mean_is_one_unless_a_label_is_limited(targets):
    factors = class_factors(targets, {})
    assert len(factors) == len(targets)
    if targets and factors.max() < LARGEST:
        assert np.mean(factors) == pytest.approx(1.0)


def test_labels_of_no_row_are_no_labels():
    assert class_factors(["a", "b"], {"c": 0}).tolist() == [1.0, 1.0]


def test_no_rows_have_no_factors():
    found = class_factors([], {"a": 3})
    assert (found.shape, found.dtype) == ((0,), np.float64)


def test_what_was_given_stays():
    before = {"a": 3}
    class_factors(["a", "b"], before)
    assert before == {"a": 3}
