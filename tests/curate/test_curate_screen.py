"""Screening: each reason once, and what passes."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.core.examples import Example
from dripstone.curate.screen import MAX_LABEL, MAX_TEXT, screen
from dripstone.models.preprocess import Stack


def vector(*numbers):
    return np.array(numbers, dtype=np.float32)


def why(inputs, target="a", weight=1.0, **options):
    """The reason why one row is rejected, or None."""
    options.setdefault("kind", "text" if isinstance(inputs, str) else "array")
    result = screen([Example("1", inputs, target, weight)], **options)
    assert len(result.kept) + len(result.rejected) == 1
    return result.rejected[0][1] if result.rejected else None


@pytest.mark.parametrize("target", ["a", " ", "ä" * MAX_LABEL, "😀", 0, -1, 2**63 - 1, -(2**63) + 1])
def test_labels_that_pass(target):
    assert why("hi", target) is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "the label is missing"),
        ("", "the label is missing"),
        (True, "the label is of type bool, neither a string nor an integer"),
        (1.0, "the label is of type float, neither a string nor an integer"),
        (float("nan"), "the label is of type float, neither a string nor an integer"),
        (["a"], "the label is of type list, neither a string nor an integer"),
        ({}, "the label is of type dict, neither a string nor an integer"),
        (b"a", "the label is of type bytes, neither a string nor an integer"),
        (np.int64(3), "the label is of type int64, neither a string nor an integer"),
        (np.array(["a", "b"]), "the label is of type ndarray, neither a string nor an integer"),
        ("a" * (MAX_LABEL + 1), "the label is longer than 200 characters or not text"),
        ("\ud800", "the label is longer than 200 characters or not text"),
        (2**63, "the label does not fit 64 bits"),
        (-(2**63) - 1, "the label does not fit 64 bits"),
        (10**400, "the label does not fit 64 bits"),
    ],
)
def test_labels_that_do_not(target, reason):
    assert why("hi", target) == reason


@pytest.mark.parametrize(
    ("labels", "target", "reason"),
    [
        (["a"], 1, "the label is an integer where this model's labels are strings"),
        ([1], "1", "the label is a string where this model's labels are integers"),
        (["a"], "new", None),
        ([1], 2, None),
        ([0], 1, None),
        ([1], True, "the label is of type bool, neither a string nor an integer"),
    ],
)
def test_new_labels_are_of_the_known_type(labels, target, reason):
    assert why("hi", target, labels=labels) == reason
    assert why("hi", target, labels=set(labels)) == reason


def test_without_known_labels_the_first_row_that_stays_sets_the_type():
    rows = [Example("1", "", 1), Example("2", "hi", "a"), Example("3", "hi", 2), Example("4", "hi", "b")]
    result = screen(rows, kind="text")
    assert [row.id for row in result.kept] == ["2", "4"]


@pytest.mark.parametrize("text", ["hi", " a ", "a" * MAX_TEXT, "😀", "a few\0 words in it"])
def test_texts_that_pass(text):
    assert why(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        (" \n\t\u00a0", "the text is empty"),
        ("a" * (MAX_TEXT + 1), "the text is longer than 1,000,000 characters"),
        ("a\udfff", "the text holds half a character (a lone surrogate)"),
    ],
)
def test_texts_that_do_not(text, reason):
    assert why(text) == reason


def test_each_kind_of_model_takes_its_kind_of_input():
    assert why("hi", kind="array") == "the input is a text where this model takes numbers"
    assert why(vector(1), kind="text") == "the input is a list of numbers where this model takes a text"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_have_to_be_finite(bad):
    assert why(vector(1, bad)) == "the input holds NaN or infinity"


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_an_array_without_numbers(shape):
    assert why(np.zeros(shape, dtype=np.float32)) == "the input is empty"


def test_shapes():
    assert why(vector(1, 2), shapes=[(2,)]) is None
    assert why(vector(1, 2), shapes=[(1, 1, 2), (2,)]) is None
    assert why(vector(1), shapes=[(2,)]) == "the input has shape [1] where this model takes [2]"
    assert why(vector(1), shapes=[(1, 2), (2,)]) == "the input has shape [1] where this model takes [1, 2] or [2]"


def test_without_known_shapes_the_first_row_that_stays_sets_it():
    rows = [Example("1", vector(np.nan), "a"), Example("2", vector(1, 2), "a"), Example("3", vector(1), "a")]
    given = ()
    result = screen(rows, kind="array", shapes=given)
    assert [row.id for row in result.kept] == ["2"]
    assert result.rejected[1][1] == "the input has shape [1] where this model takes [2]"
    assert given == ()


@pytest.mark.parametrize("weight", [0.0, 1e-300, 1e300])
def test_weights_that_pass(weight):
    assert why("hi", weight=weight) is None


@pytest.mark.parametrize("weight", [-1e-9, float("nan"), float("inf"), float("-inf")])
def test_weights_that_do_not(weight):
    assert why("hi", weight=weight) == "the weight is negative or not finite"


def test_the_first_reason_is_given():
    assert why("", None, -1.0) == "the text is empty"
    assert why("hi", None, -1.0) == "the label is missing"


def test_rows_keep_their_order_and_are_the_very_same():
    rows = [Example(str(number), "hi" if number % 3 else "", "a") for number in range(9)]
    result = screen(iter(rows), kind="text")
    assert result.kept == [row for row in rows if row.inputs]
    assert [row for row, _ in result.rejected] == [row for row in rows if not row.inputs]


def test_reasons_are_counted_and_do_not_grow_with_the_values():
    targets = [1.5, 2.5, 3.5, None, "a"]
    rows = [Example(str(number), "hi", target) for number, target in enumerate(targets)]
    assert screen(rows, kind="text").reasons() == {
        "the label is of type float, neither a string nor an integer": 3,
        "the label is missing": 1,
    }


def test_no_rows():
    result = screen([], kind="text")
    assert (result.kept, result.rejected, result.reasons()) == ([], [], {})


def test_the_shape_that_a_models_first_rows_had_is_named():
    stack = Stack()
    stack.fit([vector(1, 2)])
    assert why(vector(1, 2, 3), shapes=stack.accepted) == "the input has shape [3] where this model takes [2]"
