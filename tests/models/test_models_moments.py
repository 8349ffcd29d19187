"""Moments in any portions are those of all rows at once."""

import numpy as np
import pytest
import torch

from dripstone.core.bits import to_raw
from dripstone.models.moments import join_moments, moments_of, read_moments


def rows_of(seed: int, count: int = 500) -> np.ndarray:
    """Columns of several units, skewed and heavy-tailed ones, a flag, one far from 0, one that does not vary."""
    draw = np.random.default_rng(seed)
    return np.stack(
        [
            draw.random(count),
            np.exp(draw.normal(0, 1.5, count)),
            draw.random(count) < 0.02,
            draw.normal(1e6, 1, count),
            draw.normal(0, 1e-3, count),
            np.full(count, 7.25),
        ],
        axis=1,
    )


@pytest.mark.parametrize("seed", range(5))
def test_any_portions_give_the_moments_of_all_rows(seed):
    rows = rows_of(seed)
    cuts = np.sort(np.random.default_rng(seed).choice(len(rows), 6))  # a portion may be empty
    joined = moments_of(rows[:0])
    for part in np.split(rows, cuts):
        joined = join_moments(joined, moments_of(part))
    apart = rows - rows.mean(axis=0)
    assert joined.rows == len(rows)
    np.testing.assert_allclose(joined.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(joined.deviation(), rows.std(axis=0), rtol=1e-9)
    for power, found in zip((2, 3, 4), joined.powers, strict=True):
        size = (np.abs(apart) ** power).sum(axis=0)
        np.testing.assert_array_less(np.abs(found - (apart**power).sum(axis=0)), 1e-7 * size + 1e-12)


def test_portions_of_one_row():
    rows = rows_of(0, 40)
    joined = moments_of(rows[:0])
    for row in rows:
        joined = join_moments(joined, moments_of(row[None]))
    np.testing.assert_allclose(joined.deviation(), rows.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(joined.support(), moments_of(rows).support(), rtol=1e-5)


def test_support_is_the_number_of_rows_that_a_deviation_rests_on():
    draw = np.random.default_rng(0)
    ink = np.zeros(1000)
    ink[3] = 1.0
    rows = np.stack([draw.normal(size=1000), draw.random(1000) < 0.5, ink, np.ones(1000)], axis=1)
    normal, coin, once, never = moments_of(rows).support()
    assert 280 < normal < 390
    assert coin > 950
    assert 0.9 < once < 1.1
    assert never == 0


def test_numbers_as_large_as_float32_has_them_stay_finite():
    moments = join_moments(*(moments_of(np.full((2, 1), sign * 3e38)) for sign in (1, -1)))
    assert np.isfinite(moments.powers).all()
    np.testing.assert_allclose(moments.deviation(), 3e38)
    assert moments.support() == pytest.approx(4)


def test_what_is_stored_comes_back_bit_for_bit():
    moments = moments_of(rows_of(1))
    again = read_moments(moments.to_raw(), columns=6)
    assert again.rows == moments.rows
    assert again.mean.tobytes() == moments.mean.tobytes()
    assert again.powers.tobytes() == moments.powers.tobytes()


def test_what_does_not_fit_is_as_good_as_none():
    raw = moments_of(rows_of(2)).to_raw()
    assert read_moments(raw, columns=5) is None
    assert read_moments({name: raw[name] for name in ("rows", "mean")}, columns=6) is None
    for name, value in (
        ("rows", torch.tensor([0])),
        ("mean", torch.full((6,), float("nan"), dtype=torch.float64)),
        ("powers", torch.full((3, 6), -1.0, dtype=torch.float64)),
    ):
        assert read_moments({**raw, name: to_raw(value)}, columns=6) is None
