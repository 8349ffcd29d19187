"""Numbers: encoded, marked in units of a usual error, and read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dripstone.core.errors import ModelError
from dripstone.models import mlp
from dripstone.tasks.classification import Classification
from dripstone.tasks.kinds import task_of
from dripstone.tasks.regression import Regression

KNOWN = Regression(("value",), unit=2.0)


def test_what_is_no_number_is_encoded_as_none():
    odd = [None, "3", True, math.nan, math.inf, [1.0]]
    encoded = KNOWN.encode([1, 2.5, *odd])
    assert encoded[:2].tolist() == [1.0, 2.5]
    assert KNOWN.classes(encoded).tolist() == [0, 0] + [-1] * len(odd)


def test_before_the_first_row_no_number_is_known():
    empty = Regression()
    assert empty.classes(empty.encode([1.0])).tolist() == [-1]
    marked = empty.mark(torch.empty(2, 0), np.array([1.0, 2.0]))
    assert marked.answers.tolist() == [-1, -1]
    assert not marked.right.any()
    assert not marked.probability.any()
    assert empty.grow([]) == empty
    assert empty.grow([1.0]).labels == ("value",)


def test_the_log_of_a_likelihood_is_half_the_squared_error_in_units():
    errors = np.array([0.0, 1.0, -3.0, 5.0])
    marked = KNOWN.mark(torch.from_numpy(10.0 + errors)[:, None], np.full(4, 10.0))
    np.testing.assert_allclose(-np.log(marked.probability), (errors / 2) ** 2 / 2, rtol=1e-5)
    assert marked.right.tolist() == [True, True, True, False]
    losses = KNOWN.losses(torch.from_numpy(10.0 + errors)[:, None], torch.full((4,), 10.0))
    np.testing.assert_allclose(losses.numpy(), (errors / 2) ** 2 / 2)


def test_an_answer_that_is_not_finite_is_none():
    marked = KNOWN.mark(torch.tensor([[math.nan], [math.inf], [1.0]]), np.array([1.0, 1.0, 1.0]))
    assert marked.answers.tolist() == [-1, -1, 0]
    assert marked.right.tolist() == [False, False, True]
    assert np.isfinite(marked.kept).all()
    assert KNOWN.answers(torch.tensor([[math.nan], [1.0]])) == [None, 1.0]


def test_what_is_kept_gives_the_marks_again_also_in_another_unit():
    outputs, targets = torch.tensor([[1.0], [4.0], [math.nan]]), np.array([1.5, 0.0, 0.0])
    kept = KNOWN.mark(outputs, targets).kept
    other = Regression(("value",), unit=0.1)
    for task in (KNOWN, other):
        right, probability = task.marks(kept)
        again = task.mark(outputs, targets)
        assert (right == again.right).all()
        assert (probability == again.probability).all()


def test_errors_are_judged_in_the_champions_unit():
    assert Regression(("value",), unit=1.0).beside(KNOWN).unit == 2.0
    assert Regression(("value",), unit=1.0).beside(Regression()).unit == 1.0  # who knows nothing has no unit


def test_numbers_are_the_same_up_to_a_usual_error():
    assert KNOWN.same(1.0, 2.9)
    assert not KNOWN.same(1.0, 3.1)
    assert not KNOWN.same(None, 1.0)
    assert KNOWN.same(None, None)


def test_a_task_is_made_by_its_name_and_takes_its_unit_from_the_model():
    model = mlp(2, random_features=8)
    model.head.scale.fill_(3.0)
    assert task_of("regression", ["value"], model) == Regression(("value",), unit=3.0)
    assert task_of("classification", ["a"], model) == Classification(("a",))
    with pytest.raises(ModelError, match="there is no task 'ranking'") as caught:
        task_of("ranking", [], model)
    assert caught.value.kind == "model.task"
