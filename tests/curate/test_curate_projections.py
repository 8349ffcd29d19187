"""Sketches of arrays keep distances, and near rows share a cell."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.curate import projections
from dripstone.curate.projections import (
    NUMBERS,
    are_arrays_near,
    array_buckets,
    sketch_arrays,
    usual_distance,
)
from dripstone.curate.schema import learn_schema


def rows(count: int, columns: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((count, columns)).astype(np.float32))


@pytest.mark.parametrize("columns", [1, 5, 64, 784])
def test_distances_are_kept_in_the_mean(columns):
    ones, others = rows(400, columns), rows(400, columns, seed=1)
    schema = learn_schema([*ones, *others])
    width = np.array(schema.high) - np.array(schema.low)
    truth = np.sqrt(((np.stack(ones) - np.stack(others)) / width).__pow__(2).mean(axis=1))
    found = np.linalg.norm(sketch_arrays(ones, schema) - sketch_arrays(others, schema), axis=1)
    ratio = float(np.sqrt((found**2).sum() / (truth**2).sum()))
    assert 0.6 < ratio < 1.5  # one projection for all rows: with few columns it may stretch all of them alike
    assert float((found / truth).std()) < 0.5


def test_units_of_columns_do_not_count():
    ones = rows(50, 8)
    units = np.array([1, 10, 100, 1e3, 1e-3, 1, 1, 1], dtype=np.float32)
    scaled = [row * units for row in ones]
    one = sketch_arrays(ones, learn_schema(ones))
    assert np.allclose(one, sketch_arrays(scaled, learn_schema(scaled)), atol=1e-4)


def test_the_usual_distance_is_the_median_one_to_the_nearest():
    sketches = np.zeros((4, NUMBERS), dtype=np.float32)
    sketches[:, 0] = [0.0, 1.0, 3.0, 7.0]
    assert usual_distance(sketches) == pytest.approx(np.median([1.0, 1.0, 2.0, 4.0]))
    assert usual_distance(sketches[:1]) == 0.0
    assert usual_distance(np.zeros((20, NUMBERS), dtype=np.float32)) == 0.0


def test_rows_that_are_all_the_same_are_no_distance_apart():
    same = np.tile(np.random.default_rng(0).normal(0, 1, NUMBERS).astype(np.float32), (600, 1))
    assert usual_distance(same) == 0.0
    assert usual_distance(np.concatenate([same, same + 1])) == 0.0


def test_the_usual_distance_is_that_of_all_rows_in_any_order():
    sketches = np.zeros((4000, NUMBERS), dtype=np.float32)
    sketches[:, 0] = np.sort(np.random.default_rng(0).random(4000))
    truth = np.diff(sketches[:, 0].astype(np.float64), prepend=-1, append=2)
    truth = float(np.median(np.minimum(truth[1:], truth[:-1])))
    assert usual_distance(sketches) == pytest.approx(truth, rel=0.2)
    assert usual_distance(np.random.default_rng(1).permutation(sketches)) == pytest.approx(truth, rel=0.2)
    dense_at_last = np.concatenate([sketches[::8] * 100, sketches[::8]])  # 1,000 rows, half of them 100 times as dense
    both = [usual_distance(dense_at_last), usual_distance(dense_at_last[::-1])]
    assert both[0] == pytest.approx(both[1], rel=0.5)


def test_how_many_arrays_are_sketched_together_changes_nothing(monkeypatch):
    ones = rows(50, 9)
    schema = learn_schema(ones)
    whole = sketch_arrays(ones, schema)
    monkeypatch.setattr(projections, "AT_ONCE", 7)
    assert np.allclose(sketch_arrays(ones, schema), whole, atol=1e-6)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 1, 1), (3, 2, 2)])
def test_arrays_that_never_vary_and_those_of_one_pixel_have_sketches(shape):
    ones = [np.full(shape, 7, dtype=np.float32)] * 5
    found = sketch_arrays([*ones, np.full(shape, 9, dtype=np.float32)], learn_schema(ones))
    assert found.shape == (6, NUMBERS)
    assert not found[:5].any()
    assert found[5].any()


def test_numbers_far_beyond_the_first_ones_have_sketches():
    schema = learn_schema([np.array([0.0, 0.0], np.float32), np.array([1e-40, 1.0], np.float32)])
    found = sketch_arrays([np.array([3e38, -3e38], np.float32), np.array([0.0, 0.5], np.float32)], schema)
    assert np.isfinite(found).all()
    assert found.any(axis=1).all()


@pytest.mark.parametrize("near", [1e-30, 1e-6, 1e30])
def test_buckets_of_any_numbers_are_whole(near):
    sketches = np.array([[0.0] * NUMBERS, [1e6] * NUMBERS, [-1e6] * NUMBERS, [1e6] * NUMBERS], dtype=np.float32)
    buckets = array_buckets(sketches, near)
    assert (buckets[1] == buckets[3]).all()
    assert (buckets[1] != buckets[2]).all() or near > 1


def test_near_rows_share_a_cell_and_others_seldom_do():
    draw = np.random.default_rng(0)
    sketches = draw.normal(0, 1, (500, NUMBERS)).astype(np.float32)
    step = draw.normal(0, 1, (500, NUMBERS))
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    near = (sketches + 0.1 * step).astype(np.float32)
    ones, others = array_buckets(sketches, 0.1), array_buckets(near, 0.1)
    assert (ones == others).any(axis=1).mean() > 0.99
    assert (ones[1:] == ones[:-1]).any(axis=1).mean() < 0.05


def test_without_a_distance_nothing_is_near():
    assert array_buckets(np.zeros((3, NUMBERS), dtype=np.float32), 0.0).shape == (3, 0)


def test_near_is_at_most_so_far():
    one = np.zeros((2, NUMBERS), dtype=np.float32)
    other = one.copy()
    other[:, 0] = [1.0, 1.1]
    assert are_arrays_near(one, other, 1.0).tolist() == [True, False]
