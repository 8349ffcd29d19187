"""When a promoted candidate becomes the best version so far."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.gate.anchor import STANDARD_ERRORS, is_new_best

NOTHING = np.empty(0)


def best_of(gains: np.ndarray, restricted: np.ndarray, weights: np.ndarray | None = None) -> bool:
    """With the mean of the restricted gains, as the judge gives it."""
    return is_new_best(gains, float(restricted.mean()) if len(restricted) else None, weights)


def gains(wins: int, losses: int, ties: int) -> np.ndarray:
    return np.array([1] * wins + [-1] * losses + [0] * ties)


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "best"),
    [(0, 0, 100, False), (10, 10, 80, False), (5, 10, 85, False), (12, 6, 82, False), (20, 5, 75, True)],
)
def test_a_lead_counts_beyond_two_standard_errors(wins, losses, ties, best):
    row = gains(wins, losses, ties)
    assert best_of(row, row) is best
    assert (row.mean() > STANDARD_ERRORS * row.std() / np.sqrt(len(row))) == best


def test_new_labels_do_not_pay_for_old_ones():
    ahead = gains(50, 0, 50)
    assert best_of(ahead, gains(0, 0, 50))
    assert not best_of(ahead, gains(1, 2, 47))


def test_without_old_rows_the_new_ones_decide():
    assert best_of(gains(50, 0, 50), NOTHING)
    assert not best_of(gains(0, 50, 50), NOTHING)


def test_no_rows_or_no_weight_make_no_best():
    assert not best_of(NOTHING, NOTHING)
    assert not best_of(gains(50, 0, 0), NOTHING, np.zeros(50))


def test_weights_count_rows_as_their_sum_of_squares_says():
    row = gains(20, 5, 75)
    assert best_of(row, row, np.ones(100))
    assert best_of(row, row, np.full(100, 0.1))
    # One heavy row that is a tie, and the rest says next to nothing.
    heavy = np.where(np.arange(100) == 99, 1.0, 1e-3)
    assert not best_of(row, row, heavy)
    only_losses = np.where(row < 0, 1.0, 0.0)
    assert not best_of(row, row, only_losses)


def test_chance_seldom_moves_the_anchor():
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(400):
        row = rng.choice([1, 0, -1], p=[0.1, 0.8, 0.1], size=400)
        moved += best_of(row, row)
    assert moved / 400 <= 0.05  # two standard errors, one-sided: 2.3 %


def test_one_row_that_got_better_is_no_new_best():
    for rows in (2, 10, 1000):
        assert not best_of(gains(1, 0, rows - 1), gains(1, 0, rows - 1))


def test_real_gains_are_judged_alike():
    rng = np.random.default_rng(1)
    assert best_of(rng.normal(0.05, 0.1, 300).clip(-1, 1), NOTHING)
    assert not best_of(rng.normal(-0.05, 0.1, 300).clip(-1, 1), NOTHING)


def test_many_light_rows_do_not_make_few_heavy_ones_sure():
    heavy = np.array([1.0] * 20 + [1e-4] * 980)
    row = np.concatenate([gains(3, 0, 17), np.zeros(980)])
    assert not best_of(row, row, heavy)
    assert not best_of(row[:20], row[:20])
