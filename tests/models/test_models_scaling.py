"""The scale: columns in their own units where rows speak for it, the median where few do."""

import numpy as np
import pytest

from dripstone.models.moments import moments_of
from dripstone.models.scaling import columns_off, scale_of


def table(count: int = 300) -> np.ndarray:
    """Temperature as a share, hour, and money."""
    draw = np.random.default_rng(0)
    hours = draw.integers(0, 24, count)
    return np.stack([draw.normal(0.5, 0.1, count), hours, draw.normal(0, 900, count)], axis=1)


def test_columns_of_a_table_stand_alone_whatever_their_units():
    rows = table()
    np.testing.assert_allclose(scale_of(moments_of(rows)), rows.std(axis=0))


def test_a_pixel_with_ink_in_one_row_is_not_blown_up():
    ink = np.zeros((200, 1))
    ink[5] = 16.0
    pixels = np.concatenate([np.random.default_rng(1).normal(8, 5, (200, 5)), ink], axis=1)
    deviation, scale = pixels.std(axis=0), scale_of(moments_of(pixels))
    assert deviation[5] < 1.2
    assert scale[5] > 4
    np.testing.assert_allclose(scale[:5], deviation[:5])


def test_what_few_rows_say_is_only_ever_widened():
    rows = table(4)
    assert (scale_of(moments_of(rows)) >= rows.std(axis=0) * (1 - 1e-12)).all()
    assert scale_of(moments_of(rows))[0] > 10 * rows[:, 0].std()


def test_a_column_that_does_not_vary_gets_the_median():
    rows = np.concatenate([table(), np.full((300, 1), 0.1)], axis=1).astype("f4")
    assert scale_of(moments_of(rows))[3] == pytest.approx(rows[:, 1].std(), rel=1e-6)
    assert scale_of(moments_of(np.full((5, 2), 0.1, dtype="f4"))).tolist() == [1.0, 1.0]


def test_a_scale_is_off_where_it_or_its_shift_is():
    rows = table()
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    moments = moments_of(rows)
    assert not columns_off(mean, deviation, moments).any()
    assert not columns_off(mean + 0.9 * deviation, 1.4 * deviation, moments).any()
    assert columns_off(mean, deviation * [1, 1.6, 1], moments).tolist() == [False, True, False]
    assert columns_off(mean, deviation / [1, 1, 1.6], moments).tolist() == [False, False, True]
    assert columns_off(mean + np.array([0.15, 0, 0]), deviation, moments).tolist() == [True, False, False]
