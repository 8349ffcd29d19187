"""Classification: labels to classes and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dripstone.tasks.classification import Classification, answers, predictions

LABELS = st.text(max_size=3) | st.integers(-5, 5)


@given(st.lists(LABELS), st.lists(LABELS), st.randoms(use_true_random=False))
def test_growing_does_not_depend_on_the_order_of_rows(known, new, random):
    task = Classification(()).grow(known)
    shuffled = list(new) + new[:3]
    random.shuffle(shuffled)
    grown = task.grow(new)
    assert grown == task.grow(shuffled)
    assert grown.labels[: len(task.labels)] == task.labels
    assert len(set(grown.labels)) == len(grown.labels)
    assert set(grown.labels) == {*known, *new}


def test_growing_sorts_integers_as_numbers_before_strings():
    assert Classification(()).grow(["b", 10, "B", 9, "10", -1]).labels == (-1, 9, 10, "10", "B", "b")


def test_growing_with_nothing_new():
    task = Classification(("b", "a"))
    assert task.grow([]) == task.grow(["a", "b"]) == task
    assert Classification(()).grow([]).labels == ()


def test_growing_in_steps_appends():
    assert Classification(()).grow(["z"]).grow(["a"]).labels == ("z", "a")


@given(st.lists(LABELS, unique=True))
def test_encoding_is_the_place_in_the_vocabulary(labels):
    task = Classification(tuple(labels))
    codes = task.encode(labels)
    assert codes.dtype == np.int64
    assert codes.tolist() == list(range(len(labels)))


def test_one_and_its_text_are_two_labels():
    assert Classification((1, "1")).encode(["1", 1]).tolist() == [1, 0]


@pytest.mark.parametrize("target", [None, "c", "", 2, True, 1.0, ["a"], {}, float("nan")])
def test_what_is_not_known_or_no_label_is_minus_one(target):
    assert Classification((1, "a")).encode([target]).tolist() == [-1]


def test_encoding_nothing():
    assert Classification(("a",)).encode([]).shape == (0,)
    assert Classification(()).encode(["a"]).tolist() == [-1]


def test_answers_among_the_first_classes():
    logits = torch.tensor([[0.1, 0.2, 0.9], [3.0, -1.0, 2.0]])
    assert answers(logits).tolist() == [2, 0]
    assert answers(logits, classes=2).tolist() == [1, 0]
    assert answers(logits, classes=9).tolist() == [2, 0]
    assert answers(logits, classes=0).tolist() == [-1, -1]
    assert answers(logits).dtype == answers(logits, classes=0).dtype == np.int64


def test_answers_without_rows_or_classes():
    assert answers(torch.empty(0, 3)).shape == (0,)
    assert answers(torch.empty(2, 0)).tolist() == [-1, -1]


def test_answers_of_logits_that_need_a_gradient():
    assert answers(torch.zeros(1, 2, requires_grad=True)).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_scores_sum_to_one_and_the_prediction_has_the_highest(dtype):
    logits = (torch.randn(20, 7, generator=torch.Generator().manual_seed(0)) * 20).to(dtype)
    labels = [f"label {number}" for number in range(7)]
    for row in predictions(logits, labels):
        assert list(row["scores"]) == labels
        assert sum(row["scores"].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["scores"][row["prediction"]] == max(row["scores"].values())


def test_large_logits_do_not_overflow():
    assert predictions(torch.tensor([[1e30, -1e30]]), ["a", "b"])[0] == {
        "prediction": "a",
        "scores": {"a": 1.0, "b": 0.0},
    }


def test_a_prediction_is_the_label_itself():
    row = predictions(torch.tensor([[0.0, 1.0]]), [3, 7])[0]
    assert row["prediction"] == 7
    assert list(row["scores"]) == ["3", "7"]


def test_zero_classes_and_zero_rows():
    assert predictions(torch.empty(2, 0), []) == [{"prediction": None, "scores": {}}] * 2
    assert predictions(torch.empty(0, 3), ["a", "b", "c"]) == []


def test_labels_and_logits_have_to_match():
    with pytest.raises(ValueError, match="zip"):
        predictions(torch.zeros(1, 3), ["a", "b"])
