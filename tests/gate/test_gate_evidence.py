"""Wealth that cannot grow by luck: validity by enumeration and simulation, then power and estimates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dripstone.gate.evidence import MAX_BET, can_pass, gain_evidence, level, log_wealth

OUTCOMES = (1, 0, -1)


def expected_wealth(rows: int, bound: float, probabilities: list[tuple[float, float, float]]) -> list[float]:
    """By enumeration of all sequences; one value for each distribution over +1, 0, -1."""
    sequences = np.array(list(itertools.product(range(3), repeat=rows)))
    values = np.array(OUTCOMES, dtype=float)[sequences]
    wealth = np.exp([log_wealth(row, bound) for row in values])
    return [float(np.array(p)[sequences].prod(axis=1) @ wealth) for p in probabilities]


def outcomes(rng: np.random.Generator, wins: float, losses: float, rows: int) -> np.ndarray:
    return rng.choice(OUTCOMES, p=[wins, 1 - wins - losses, losses], size=rows)


@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_expected_wealth_without_gain_is_at_most_one(rows):
    fair = [(0.5, 0.0, 0.5), (0.2, 0.6, 0.2), (0.02, 0.96, 0.02)]
    worse = [(0.3, 0.3, 0.4), (0.0, 0.5, 0.5)]
    found = expected_wealth(rows, 0.0, [*fair, *worse])
    assert found[: len(fair)] == pytest.approx([1.0] * len(fair), abs=1e-12)
    assert all(value <= 1 + 1e-12 for value in found)


def test_expected_wealth_of_ten_fair_coins_is_one():
    wealth = [math.exp(log_wealth(np.array(row, dtype=float))) for row in itertools.product((1, -1), repeat=10)]
    assert np.mean(wealth) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("bound", [0.01, 0.1, 0.9])
def test_expected_wealth_at_the_worst_mean_below_a_bound_is_at_most_one(bound):
    worst = [((1 + bound) / 2, 0.0, (1 - bound) / 2), (bound, 1 - bound, 0.0)]
    below = [(bound / 2, 1 - bound / 2, 0.0), (0.1 * bound, 0.5, 0.5 - 0.1 * bound)]
    found = expected_wealth(7, bound, [*worst, *below])
    assert found[:2] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert all(value <= 1 + 1e-12 for value in found)


@pytest.mark.parametrize("bound", [0.0, 0.05])
def test_wealth_rarely_ever_crosses_the_bar_without_gain(bound):
    rng = np.random.default_rng(0)
    alpha, lives, rows = 0.2, 400, 60
    crossed = 0
    for _ in range(lives):
        row = outcomes(rng, 0.3 + bound, 0.3, rows).astype(float)
        crossed += any(log_wealth(row[:n], bound) >= math.log(1 / alpha) for n in range(1, rows + 1))
    assert crossed / lives <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / lives)


@given(
    st.lists(st.floats(-1, 1), max_size=30),
    st.floats(0, 0.9),
    st.floats(-1, 1),
)
def test_a_bet_is_fixed_before_its_row_is_seen(past, bound, outcome):
    def growth(value: float) -> float:
        return math.exp(log_wealth(np.array([*past, value]), bound) - log_wealth(np.array(past), bound)) - 1

    bet = -growth(-1.0) / (1 + bound)
    assert -1e-9 <= bet <= MAX_BET / (1 + bound) + 1e-9
    assert growth(outcome) == pytest.approx(bet * (outcome - bound), abs=1e-9)


@given(st.lists(st.sampled_from(OUTCOMES), max_size=40))
def test_rows_on_which_both_agree_change_nothing(row):
    some = np.array(row, dtype=float)
    assert log_wealth(some) == pytest.approx(log_wealth(some[some != 0]), abs=1e-12)


def test_bets_on_coins_are_those_of_krichevsky_and_trofimov():
    wins = [1, 1, -1, 1, 1]
    expected = (1 + 0) * (1 + 1 / 2) * (1 - 2 / 3) * (1 + 1 / 4) * (1 + 2 / 5)
    assert math.exp(log_wealth(np.array(wins, dtype=float))) == pytest.approx(expected)


def test_no_sequence_of_rows_beats_wins_alone():
    best = log_wealth(np.ones(8))
    assert all(log_wealth(np.array(row, dtype=float)) <= best for row in itertools.product((1, -1), repeat=8))


def test_wealth_is_never_ruined():
    assert math.isfinite(log_wealth(np.array([1.0] * 500 + [-1.0] * 500)))
    assert log_wealth(np.empty(0)) == 0.0


@pytest.mark.parametrize("row", [[math.nan], [math.inf], [1.5], [0.0, -1.01]])
def test_differences_out_of_range_are_a_programming_error(row):
    with pytest.raises(ValueError, match="within"):
        log_wealth(np.array(row))


def test_one_point_of_gain_at_four_percent_of_flips_is_proven():
    rng = np.random.default_rng(1)
    bar = math.log(1 / level(0.05, 1))
    discordant = []
    for _ in range(60):
        flips = rng.choice([1.0, -1.0], p=[0.625, 0.375], size=1500)
        payoffs = [n for n in range(20, 1500, 20) if log_wealth(flips[:n]) >= bar]
        discordant.append(payoffs[0] if payoffs else math.inf)
    assert np.mean(np.isfinite(discordant)) == 1.0
    assert 80 <= np.median(discordant) <= 300


def test_levels_add_up_to_alpha():
    assert math.fsum(level(0.05, k) for k in range(1, 2001)) == pytest.approx(0.05 * (1 - 1 / 2001))
    assert all(level(0.05, k) > level(0.05, k + 1) > 0 for k in range(1, 50))


def test_more_rows_can_only_help_to_pass():
    passes = [can_pass(rows, 0.025) for rows in range(30)]
    assert passes == sorted(passes)
    assert not passes[0]
    assert passes[-1]


def test_no_alpha_is_spent_where_the_count_cannot_pass():
    few = next(rows for rows in range(30) if can_pass(rows, level(0.05, 1))) - 1
    assert gain_evidence(np.ones(few), 0.05, 0, 0.2).alpha_spent == 0
    # The outcome has no say: as many losses spend what as many wins do.
    for outcome in OUTCOMES:
        assert gain_evidence(np.full(few + 1, outcome), 0.05, 0, 0.2).alpha_spent == level(0.05, 1)


def test_evidence_counts_what_it_saw():
    found = gain_evidence(np.array([1, 0, 0, -1, 1]), 0.05, 3, 0.2)
    assert (found.discordant, found.rows, found.threshold) == (3, 5, pytest.approx(1 / level(0.05, 4)))
    empty = gain_evidence(np.empty(0, dtype=np.int64), 0.05, 0, 0.2)
    assert (empty.wealth, empty.rows, empty.alpha_spent, empty.rows_needed) == (1.0, 0, 0.0, None)


def test_wealth_beyond_every_number_stays_a_number():
    assert math.isfinite(gain_evidence(np.ones(5000), 0.05, 0, 0.2).wealth)


def needed(wins: int, losses: int, rows: int, tested: int = 0, holdout: float = 0.2) -> int | None:
    differences = np.array([*[1, -1] * losses, *[1] * (wins - losses), *[0] * (rows - wins - losses)])
    return gain_evidence(differences, 0.05, tested, holdout).rows_needed


def test_rows_needed_move_the_right_way():
    assert needed(30, 0, 100) == 0
    assert needed(4, 4, 100) is None
    assert needed(0, 0, 100) is None
    more_wins = [needed(wins, 4, 100) for wins in (5, 6, 7, 8, 10)]
    assert more_wins == sorted(more_wins, reverse=True)
    more_losses = [needed(8, losses, 100) for losses in range(6)]
    assert more_losses == sorted(more_losses)
    later = [needed(8, 4, 100, tested) for tested in (0, 1, 5, 50)]
    assert later == sorted(later)
    assert needed(8, 4, 100, holdout=0.1) == pytest.approx(2 * needed(8, 4, 100, holdout=0.2), abs=1)


@pytest.mark.parametrize(("wins", "losses", "rows"), [(3, 1, 50), (12, 6, 300), (5, 0, 30), (25, 15, 1000)])
def test_about_half_decide_with_the_rows_estimated(wins, losses, rows):
    rng = np.random.default_rng(2)
    share, flips = (wins + 0.5) / (wins + losses + 1), (wins + losses + 0.5) / (rows + 1)
    decided = []
    for _ in range(120):
        seen = rng.permutation([*[1] * wins, *[-1] * losses, *[0] * (rows - wins - losses)])
        found = gain_evidence(seen, 0.05, 0, 0.2)
        more = outcomes(rng, share * flips, (1 - share) * flips, round(found.rows_needed * 0.2))
        later = gain_evidence(np.concatenate([seen, more]), 0.05, int(found.alpha_spent > 0), 0.2)
        decided.append(later.wealth >= later.threshold)
    assert 0.3 <= np.mean(decided) <= 0.75


@settings(max_examples=50)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 500), st.integers(0, 1000))
def test_every_count_gives_evidence(wins, losses, ties, tested):
    differences = np.random.default_rng(0).permutation([*[1] * wins, *[-1] * losses, *[0] * ties])
    found = gain_evidence(differences.astype(np.int64), 0.05, tested, 0.2)
    assert math.isfinite(found.wealth)
    assert found.rows_needed is None or found.rows_needed >= 0
    assert (found.rows_needed == 0) == (found.wealth >= found.threshold)
