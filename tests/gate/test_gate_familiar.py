"""Rows that are like the trusted ones, and rows that are not."""

import numpy as np
import pytest

from dripstone.gate.familiar import FEWEST, LOOK, TYPICAL, _leverages, find_familiar


def sample(rows: int, columns: int, seed: int, flat: slice = slice(0, 0)) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    found[:, flat] *= 0.01
    return found


@pytest.mark.parametrize("columns", [1, 2, 30, 500])
@pytest.mark.parametrize("trusted", [FEWEST, 100, 2000])
def test_about_nine_in_ten_rows_of_the_same_kind_are_familiar(columns, trusted):
    shares = [
        find_familiar(sample(200, columns, seed), sample(trusted, columns, 100 + seed)).mean() for seed in range(8)
    ]
    assert 2 * TYPICAL - 1 - 0.06 <= np.mean(shares) <= 1.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rows_in_the_gap_between_two_clusters_are_not_whatever_the_unit(scale):
    trusted = sample(200, 4, 0) * 0.1
    trusted[::2] += 3
    trusted[1::2] -= 3
    assert not find_familiar(scale * 0.1 * sample(50, 4, 1), scale * trusted).any()


def test_rows_in_directions_that_trusted_rows_lack_are_not_though_no_farther_away():
    trusted, turned = sample(400, 60, 0, flat=slice(40, 60)), sample(100, 60, 1, flat=slice(0, 20))
    nearest = np.linalg.norm(turned[:, None] - trusted, axis=2).min(axis=1)
    own = np.linalg.norm(trusted[:, None] - trusted, axis=2)
    np.fill_diagonal(own, np.inf)
    assert np.median(nearest) < 1.5 * np.quantile(own.min(axis=1), TYPICAL)
    assert find_familiar(turned, trusted).mean() < 0.05


def test_a_flood_of_one_kind_of_trusted_rows_is_familiar():
    trusted = sample(300, 20, 0) * 0.2
    trusted[:150, 0] += 5
    flood = sample(400, 20, 1) * 0.2
    flood[:, 0] += 5
    assert find_familiar(flood, trusted).mean() > 0.85


def test_trusted_rows_that_come_again_are_familiar_but_for_the_odd_ones():
    trusted = sample(LOOK, 10, 0)
    assert find_familiar(trusted, trusted).mean() >= TYPICAL - 0.02


@pytest.mark.parametrize("rows", [0, 1, FEWEST - 1])
def test_of_few_trusted_rows_nothing_is_said(rows):
    assert find_familiar(1e6 * sample(5, 3, 0), sample(rows, 3, 1)).all()


def test_a_row_that_is_not_finite_is_asked_and_disturbs_no_other():
    trusted, rows = sample(100, 5, 0), sample(20, 5, 1)
    expected = find_familiar(rows, trusted)
    rows[3, 2] = np.nan
    expected[3] = True
    assert (find_familiar(rows, trusted) == expected).all()
    assert find_familiar(np.full((2, 5), np.inf), trusted).all()
    trusted[7] = np.inf
    assert find_familiar(rows, trusted).mean() > 0.5


def test_trusted_rows_that_are_all_the_same_know_only_themselves():
    trusted = np.ones((50, 3), dtype=np.float32)
    assert find_familiar(trusted[:2], trusted).all()
    assert not find_familiar(2 * trusted[:2], trusted).any()


def test_leverages_are_those_of_the_definition():
    trusted, rows = sample(60, 8, 0).astype(np.float64), sample(5, 8, 1).astype(np.float64)
    penalty = 3.0
    mine, own = _leverages(trusted @ trusted.T, rows @ trusted.T, (rows**2).sum(axis=1), penalty)

    def defined(row, others):
        return row @ np.linalg.solve(others.T @ others + penalty * np.eye(8), row)

    assert mine == pytest.approx([defined(row, trusted) for row in rows])
    assert own == pytest.approx([defined(row, np.delete(trusted, place, axis=0)) for place, row in enumerate(trusted)])


def test_the_order_of_the_rows_does_not_matter():
    trusted, rows = sample(200, 6, 0), 1.5 * sample(80, 6, 1)
    found = find_familiar(rows, trusted)
    assert 0 < found.sum() < len(found)
    assert (find_familiar(rows[::-1], trusted)[::-1] == found).all()
    assert (np.concatenate([find_familiar(rows[:1], trusted), find_familiar(rows[1:], trusted)]) == found).all()


@pytest.mark.parametrize(("different", "columns"), [(3, 4), (5, 32), (12, 384)])
def test_a_few_inputs_that_come_over_and_over_are_familiar(different, columns):
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((different, columns)).astype(np.float32)
    trusted, again = (inputs[draw.integers(0, different, count)] for count in (400, 300))
    assert find_familiar(again, trusted).all()
    assert not find_familiar(again + 1, trusted).any()
