"""The metric: bounded scores, and an error with a remedy for what is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.errors import ModelError
from dripstone.gate.metrics import LOG_LOSS_CLIP, row_scores

RIGHT = np.array([True, False, True])


def test_accuracy_is_whole_numbers_whatever_the_probabilities():
    scores = row_scores("accuracy", RIGHT, np.array([math.nan, 2.0, -1.0]))
    assert scores.dtype == np.int8
    assert scores.tolist() == [1, 0, 1]
    assert (scores - scores[::-1]).tolist() == [0, 0, 0]


@given(st.lists(st.floats(0, 1, width=32), max_size=20))
def test_the_log_loss_is_clipped_to_a_share(probabilities):
    given_ = np.array(probabilities, dtype=np.float32)
    scores = row_scores("log_loss", np.zeros(len(given_), bool), given_)
    assert ((scores >= 0) & (scores <= 1)).all()
    for score, p in zip(scores, given_.astype(float), strict=True):
        loss = LOG_LOSS_CLIP if p == 0 else min(-math.log(p), LOG_LOSS_CLIP)
        assert score == pytest.approx(1 - loss / LOG_LOSS_CLIP, abs=1e-12)


def test_a_point_of_the_log_loss_is_a_twentieth_of_a_nat():
    better, worse = row_scores("log_loss", RIGHT[:2], np.exp(np.array([-1.0, -1.05])))
    assert better - worse == pytest.approx(0.01)


def test_rounding_above_one_is_certainty():
    assert row_scores("log_loss", RIGHT[:1], np.array([1 + 5e-7])).tolist() == [1.0]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, -0.01, 1.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_probability_is_the_models_fault(odd, dtype):
    with pytest.raises(ModelError, match="a probability is") as caught:
        row_scores("log_loss", RIGHT, np.array([0.5, odd, 0.2], dtype=dtype))
    assert caught.value.remedy
    assert caught.value.kind == "model.metric"
    assert f"{odd:.1f}"[:3] in str(caught.value)


def test_no_rows_have_no_scores():
    empty = np.empty(0)
    assert len(row_scores("log_loss", empty.astype(bool), empty)) == 0
    assert len(row_scores("accuracy", empty.astype(bool), empty)) == 0


def test_the_score_of_a_number_is_its_squared_error_clipped():
    errors = np.array([0.0, 1.0, 2.0, 3.0, -9.0])
    scores = row_scores("squared_error", np.abs(errors) < 2, np.exp(-np.square(errors) / 2))
    np.testing.assert_allclose(scores, [1.0, 0.9, 0.6, 0.1, 0.0], atol=1e-12)
