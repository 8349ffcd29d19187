"""Wealth that cannot grow by luck: validity by enumeration and simulation, then power and estimates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.gate.evidence import (
    BETS,
    can_pass,
    gain_evidence,
    highest_log_wealth,
    level,
    log_factors,
    log_mean,
    log_wealth,
)

OUTCOMES = (1, 0, -1)
NULLS = [(0.5, 0.0, 0.5), (0.2, 0.6, 0.2), (0.02, 0.96, 0.02), (0.3, 0.3, 0.4), (0.0, 0.5, 0.5)]
"""Distributions over +1, 0, -1 without gain; the first three are fair."""


def sequences(rows: int, values: tuple[float, ...] = OUTCOMES) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of ``rows`` values, and the indices of their values."""
    chosen = np.array(list(itertools.product(range(len(values)), repeat=rows)))
    return np.array(values)[chosen], chosen


def outcomes(rng: np.random.Generator, wins: float, losses: float, rows: int) -> np.ndarray:
    return rng.choice(OUTCOMES, p=[wins, 1 - wins - losses, losses], size=rows)


def path(differences: np.ndarray, weights: np.ndarray | None = None, bound: float = 0.0) -> np.ndarray:
    """Log of the wealth after each row."""
    return log_mean(np.cumsum(log_factors(differences, weights, bound), axis=0))


def within_chance(count: int, times: int, share: float) -> bool:
    return count / times <= share + 3 * math.sqrt(share * (1 - share) / times)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_expected_wealth_without_gain_is_at_most_one(rows):
    rows_of, chosen = sequences(rows)
    wealth = np.exp([log_wealth(row) for row in rows_of])
    found = [float(np.array(p)[chosen].prod(axis=1) @ wealth) for p in NULLS]
    assert found[:3] == pytest.approx([1.0] * 3, abs=1e-12)
    assert all(value <= 1 + 1e-12 for value in found)


@pytest.mark.parametrize("bound", [0.01, 0.1, 0.9])
def test_expected_wealth_at_the_worst_mean_below_a_bound_is_at_most_one(bound):
    rows_of, chosen = sequences(7)
    wealth = np.exp([log_wealth(row, bound=bound) for row in rows_of])
    worst = [((1 + bound) / 2, 0.0, (1 - bound) / 2), (bound, 1 - bound, 0.0)]
    below = [(bound / 2, 1 - bound / 2, 0.0), (0.1 * bound, 0.5, 0.5 - 0.1 * bound)]
    found = [float(np.array(p)[chosen].prod(axis=1) @ wealth) for p in worst + below]
    assert found[:2] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert all(value <= 1 + 1e-12 for value in found)


@pytest.mark.parametrize("bound", [0.0, 0.1])
def test_expected_wealth_of_real_differences_and_weights_is_at_most_one(bound):
    values = (0.9, 0.25, -0.05, -0.7)
    rows_of, chosen = sequences(6, values)
    weights = np.array([1.0, 0.3, 0.0, 0.05, 0.8, 1.0])
    for up in (0.0, 0.2, 0.5):
        # The share of the lowest value that puts the mean on the bound.
        down = (up * 0.9 + (1 - up) * 0.25 - bound) / (0.25 + 0.7)
        chances = np.array([up, 1 - up - down, 0.0, down])
        assert chances @ np.array(values) == pytest.approx(bound)
        share = chances[chosen].prod(axis=1)
        for heavy in (None, weights):
            wealth = np.exp([log_wealth(row, heavy, bound) for row in rows_of])
            assert float(share @ wealth) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("bound", [0.0, 0.1])
def test_the_highest_wealth_keeps_the_inequality_of_ville_at_every_bar(bound):
    rows_of, chosen = sequences(7)
    highest = np.exp([highest_log_wealth(row, bound) for row in rows_of])
    order = np.argsort(-highest, kind="stable")
    nulls = NULLS if bound == 0 else [((1 + bound) / 2, 0.0, (1 - bound) / 2), (bound, 1 - bound, 0.0)]
    for p in nulls:
        # P(highest >= w) * w <= 1 for every wealth w that is reached at all.
        reached = np.cumsum(np.array(p)[chosen].prod(axis=1)[order])
        assert (reached * highest[order]).max() <= 1 + 1e-12


def test_the_final_wealth_of_weighted_rows_with_unlike_means_is_at_most_one():
    rows_of, chosen = sequences(6)
    weights = np.array([1.0, 0.3, 0.0, 0.05, 0.8, 1.0])
    wealth = np.exp([log_wealth(row, weights) for row in rows_of])
    rng = np.random.default_rng(14)
    for _ in range(50):
        means = rng.uniform(-0.6, 0.6, 6)
        means -= (weights @ means) / weights.sum()
        spread = np.abs(means) + rng.random(6) * (1 - np.abs(means))
        chances = np.stack([(spread + means) / 2, 1 - spread, (spread - means) / 2], axis=1)
        share = np.prod([chances[row, chosen[:, row]] for row in range(6)], axis=0)
        if chances.min() >= 0:
            assert float(share @ wealth) <= 1 + 1e-12


@pytest.mark.parametrize("bound", [0.0, 0.05])
def test_wealth_rarely_ever_crosses_the_bar_without_gain(bound):
    rng = np.random.default_rng(0)
    alpha, lives = 0.1, 1500
    bar = math.log(1 / alpha)
    coins = sum(highest_log_wealth(outcomes(rng, 0.3 + bound, 0.3, 300), bound) >= bar for _ in range(lives))
    assert within_chance(coins, lives, alpha)
    reals = sum(highest_log_wealth(rng.uniform(-1 + 2 * bound, 1, 300), bound) >= bar for _ in range(lives))
    assert within_chance(reals, lives, alpha)
    weighted = 0
    for _ in range(lives):
        weighted += log_wealth(rng.uniform(-1 + 2 * bound, 1, 300), rng.random(300), bound) >= bar
    assert within_chance(weighted, lives, alpha)


@settings(max_examples=60)
@given(st.lists(st.floats(-1, 1), max_size=30), st.floats(0, 0.9))
def test_the_highest_wealth_is_the_maximum_over_all_beginnings(rows, bound):
    differences = np.array(rows)
    wealths = [log_wealth(differences[:n], bound=bound) for n in range(len(rows) + 1)]
    assert highest_log_wealth(differences, bound) == pytest.approx(max(wealths), abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0, 0.9), st.randoms(use_true_random=False))
def test_the_final_wealth_does_not_depend_on_the_order(rows, bound, random):
    mixed = list(rows)
    random.shuffle(mixed)
    assert log_wealth(np.array(mixed), bound=bound) == pytest.approx(log_wealth(np.array(rows), bound=bound), abs=1e-9)


@given(st.lists(st.floats(-1, 1), max_size=20), st.floats(0, 0.9), st.floats(-1, 1), st.floats(0, 1))
def test_each_gambler_fixes_its_bet_before_it_sees_the_row(past, bound, outcome, weight):
    def factors(last: float) -> np.ndarray:
        weights = np.array([*([1.0] * len(past)), weight])
        return np.exp(log_factors(np.array([*past, last]), weights, bound)[-1])

    bets = BETS / (1 + bound)
    assert factors(outcome) == pytest.approx(1 + bets * weight * (outcome - bound), abs=1e-9)
    assert factors(bound) == pytest.approx(np.ones(len(BETS)), abs=1e-12)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=40))
def test_whole_and_real_numbers_give_the_same_wealth(row):
    whole, real = np.array(row, dtype=np.int8), np.array(row, dtype=float)
    for bound in (0.0, 0.3):
        assert log_factors(whole, None, bound) == pytest.approx(log_factors(real, None, bound), abs=1e-12)
        assert highest_log_wealth(whole, bound) == pytest.approx(highest_log_wealth(real, bound), abs=1e-9)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=40))
def test_rows_on_which_both_agree_change_nothing(row):
    some = np.array(row, dtype=float)
    assert log_wealth(some) == pytest.approx(log_wealth(some[some != 0]), abs=1e-12)


@given(st.lists(st.tuples(st.floats(-1, 1), st.sampled_from([0.0, 1.0])), max_size=30), st.floats(0, 0.9))
def test_a_row_without_weight_is_no_row_and_weight_one_is_none(rows, bound):
    differences, weights = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    without = differences[weights > 0]
    assert log_wealth(differences, weights, bound) == pytest.approx(log_wealth(without, bound=bound), abs=1e-9)


def test_a_mixture_costs_no_more_than_the_number_of_gamblers():
    rng = np.random.default_rng(3)
    for wins, losses in ((0.5, 0.0), (0.1, 0.05), (0.02, 0.01)):
        differences = outcomes(rng, wins, losses, 3000)
        best = log_factors(differences).sum(axis=0).max()
        assert best - math.log(len(BETS)) <= log_wealth(differences) <= best


def test_no_sequence_of_rows_beats_wins_alone():
    best = log_wealth(np.ones(8))
    assert all(highest_log_wealth(np.array(row)) <= best + 1e-12 for row in itertools.product((1, -1), repeat=8))


def test_wealth_is_never_ruined():
    assert math.isfinite(log_wealth(np.array([1.0] * 500 + [-1.0] * 500)))
    assert log_wealth(np.empty(0)) == highest_log_wealth(np.empty(0)) == 0.0
    assert highest_log_wealth(-np.ones(50)) == 0.0


def test_a_proof_is_not_lost_to_the_rows_after_it():
    rows = np.array([1] * 40 + [-1] * 400)
    assert log_wealth(rows) < 0
    assert gain_evidence(rows, 0.05, 0, 0.2).wealth == pytest.approx(math.exp(log_wealth(rows[:40])))


@pytest.mark.parametrize("row", [[math.nan], [math.inf], [1.5], [0.0, -1.01]])
def test_differences_out_of_range_are_a_programming_error(row):
    with pytest.raises(ValueError, match="differences must be finite and within"):
        log_wealth(np.array(row))


@pytest.mark.parametrize("weight", [math.nan, math.inf, -0.1, 1.5])
def test_weights_out_of_range_are_a_programming_error(weight):
    with pytest.raises(ValueError, match="weights must be finite and within"):
        log_wealth(np.ones(2), np.array([1.0, weight]))


def test_one_point_of_gain_at_four_percent_of_flips_is_proven():
    rng = np.random.default_rng(1)
    bar = math.log(1 / level(0.05, 1))
    crossings = []
    for _ in range(60):
        flips = rng.choice([1, -1], p=[0.625, 0.375], size=1500)
        above = np.flatnonzero(path(flips) >= bar)
        crossings.append(above[0] + 1 if len(above) else math.inf)
    assert np.mean(np.isfinite(crossings)) == 1.0
    assert 80 <= np.median(crossings) <= 300


def test_levels_add_up_to_alpha():
    assert math.fsum(level(0.05, k) for k in range(1, 2001)) == pytest.approx(0.05 * (1 - 1 / 2001))
    assert all(level(0.05, k) > level(0.05, k + 1) > 0 for k in range(1, 50))


def test_more_rows_can_only_help_to_pass():
    passes = [can_pass(rows, 0.025) for rows in range(30)]
    assert passes == sorted(passes)
    assert not passes[0]
    assert passes[-1]


def test_light_rows_pass_later():
    rows = next(rows for rows in range(30) if can_pass(rows, 0.025))
    assert can_pass(rows, 0.025, np.ones(rows))
    assert not can_pass(rows, 0.025, np.full(rows, 0.5))
    assert can_pass(4 * rows, 0.025, np.full(4 * rows, 0.5))
    assert not can_pass(1000, 0.025, np.zeros(1000))


def test_no_alpha_is_spent_where_the_count_cannot_pass():
    few = next(rows for rows in range(30) if can_pass(rows, level(0.05, 1))) - 1
    assert gain_evidence(np.ones(few), 0.05, 0, 0.2).alpha_spent == 0
    # The outcome has no say: as many losses spend what as many wins do.
    for outcome in OUTCOMES:
        assert gain_evidence(np.full(few + 1, outcome), 0.05, 0, 0.2).alpha_spent == level(0.05, 1)
        weights = np.array([1.0] + [0.5] * few)
        assert gain_evidence(np.full(few + 1, outcome), 0.05, 0, 0.2, weights).alpha_spent == 0


def test_only_the_ratio_of_weights_counts():
    rng = np.random.default_rng(15)
    rows, weights = outcomes(rng, 0.4, 0.2, 200), rng.uniform(0.5, 1, 200)
    found = [gain_evidence(rows, 0.05, 0, 0.2, unit * weights) for unit in (1.0, 1e-6, 1e6)]
    assert found[0].wealth == pytest.approx(found[1].wealth) == pytest.approx(found[2].wealth)
    assert gain_evidence(rows, 0.05, 0, 0.2, np.full(200, 7.0)) == gain_evidence(rows, 0.05, 0, 0.2)


def test_of_weighted_rows_the_final_wealth_counts():
    rows, weights = np.array([1] * 40 + [-1] * 400), np.array([0.9] + [1.0] * 439)
    assert gain_evidence(rows, 0.05, 0, 0.2).gain_at_least > 0
    assert gain_evidence(rows, 0.05, 0, 0.2, weights).wealth == 1.0


def test_evidence_counts_what_it_saw():
    found = gain_evidence(np.array([1, 0, 0, -1, 1]), 0.05, 3, 0.2)
    assert (found.discordant, found.wins, found.losses, found.rows) == (3, 2, 1, 5)
    assert found.threshold == pytest.approx(1 / level(0.05, 4))
    empty = gain_evidence(np.empty(0, dtype=np.int64), 0.05, 0, 0.2)
    assert (empty.wealth, empty.rows, empty.alpha_spent, empty.rows_needed) == (1.0, 0, 0.0, None)
    nothing = gain_evidence(np.ones(100), 0.05, 0, 0.2, np.zeros(100))
    assert (nothing.wealth, nothing.rows, nothing.alpha_spent, nothing.gain_at_least) == (1.0, 100, 0.0, 0.0)


def test_wealth_beyond_every_number_stays_a_number():
    found = gain_evidence(np.ones(5000), 0.05, 0, 0.2)
    assert math.isfinite(found.wealth)
    assert 0.98 < found.gain_at_least < 1


@pytest.mark.parametrize("kind", ["coins", "reals", "weighted"])
def test_the_claimed_gain_covers_the_true_one(kind):
    rng = np.random.default_rng(4)
    lives, true, claimed, wrong = 300, 0.15, [], 0
    for _ in range(lives):
        weights = rng.uniform(0.2, 1, 300) if kind == "weighted" else None
        differences = outcomes(rng, 0.25, 0.1, 300) if kind == "coins" else rng.uniform(-0.85, 1, 300) * 0.5 + 0.1125
        found = gain_evidence(differences, 0.05, 0, 0.2, weights)
        claimed.append(found.gain_at_least)
        wrong += found.gain_at_least > true
    assert within_chance(wrong, lives, level(0.05, 1))
    assert np.mean(np.array(claimed) > 0) > 0.5
    assert np.median([gain for gain in claimed if gain]) > true / 10


def test_nothing_is_claimed_without_proof():
    assert gain_evidence(np.array([1] * 5 + [-1] * 5), 0.05, 0, 0.2).gain_at_least == 0
    few = np.ones(6)  # all of them wins, and still too few
    assert gain_evidence(few, 0.05, 0, 0.2).gain_at_least == 0


def needed(wins: int, losses: int, rows: int, tested: int = 0, holdout: float = 0.2) -> int | None:
    differences = np.array([*[1, -1] * losses, *[1] * (wins - losses), *[0] * (rows - wins - losses)])
    return gain_evidence(differences, 0.05, tested, holdout).rows_needed


def test_rows_needed_move_the_right_way():
    assert needed(30, 0, 100) == 0
    assert needed(4, 4, 100) is None
    assert needed(0, 0, 100) is None
    more_wins = [needed(wins, 4, 100) for wins in (6, 7, 8, 10)]
    assert more_wins == sorted(more_wins, reverse=True)
    more_losses = [needed(8, losses, 100) for losses in range(6)]
    assert more_losses == sorted(more_losses)
    later = [needed(8, 4, 100, tested) for tested in (0, 1, 5, 50)]
    assert later == sorted(later)
    # Rows that were seen already need not come again.
    assert 0 < needed(16, 4, 200) * 0.2 < 200
    assert needed(8, 4, 100, holdout=0.1) == pytest.approx(2 * needed(8, 4, 100, holdout=0.2), abs=1)


@pytest.mark.parametrize(("wins", "losses", "rows"), [(3, 1, 50), (12, 6, 300), (5, 0, 30), (25, 15, 1000)])
def test_half_or_more_decide_with_the_rows_estimated(wins, losses, rows):
    rng = np.random.default_rng(2)
    share, flips = (wins + 0.5) / (wins + losses + 1), (wins + losses + 0.5) / (rows + 1)
    decided = []
    for _ in range(80):
        seen = rng.permutation([*[1] * wins, *[-1] * losses, *[0] * (rows - wins - losses)])
        found = gain_evidence(seen, 0.05, 0, 0.2)
        if found.rows_needed == 0:
            continue
        more = outcomes(rng, share * flips, (1 - share) * flips, round(found.rows_needed * 0.2))
        later = gain_evidence(np.concatenate([seen, more]), 0.05, int(found.alpha_spent > 0), 0.2)
        decided.append(later.wealth >= later.threshold)
    assert len(decided) > 75
    # A little more where few rows decide: the estimate charges the whole price of six gamblers.
    assert 0.4 <= np.mean(decided) <= 0.9


@settings(max_examples=50)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 500), st.integers(0, 1000))
def test_every_count_gives_evidence(wins, losses, ties, tested):
    differences = np.random.default_rng(0).permutation([*[1] * wins, *[-1] * losses, *[0] * ties])
    found = gain_evidence(differences.astype(np.int64), 0.05, tested, 0.2)
    proven = found.wealth >= found.threshold
    assert math.isfinite(found.wealth)
    assert found.rows_needed is None or found.rows_needed >= 0
    assert (found.rows_needed == 0) == proven == (found.gain_at_least > 0)
    assert not proven or found.alpha_spent == pytest.approx(level(0.05, tested + 1))
