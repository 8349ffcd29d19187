"""Harm in a slice: found, named, and rarely seen where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.records import HarmTest
from dripstone.gate.evidence import log_wealth
from dripstone.gate.harm import OVERALL, Comparison, _worth_watching, find_harm
from dripstone.gate.slices import part_rows

ALPHA, MARGIN = 0.05, 0.01


def contest(
    gains: np.ndarray, labels: list | None = None, weights: np.ndarray | None = None, against: str = "champion"
) -> Comparison:
    return Comparison(against, gains, weights, [] if labels is None else [part_rows("class", labels)])


def harm(*comparisons: Comparison, margin: float = MARGIN, alpha: float = ALPHA) -> HarmTest:
    return find_harm(comparisons, margin, alpha)


def shown(found: HarmTest) -> bool:
    return found.rows > 0 and found.wealth >= found.bar


def lost(rows: int, places) -> np.ndarray:
    """No gains, and a loss at some places."""
    return -np.isin(np.arange(rows), list(places)).astype(np.int8)


def test_a_hurt_class_is_found_and_named():
    labels = [f"c{row % 10}" for row in range(1000)]
    found = harm(contest(lost(1000, range(3, 1000, 20)), labels))
    assert (found.slice, found.against, found.rows, found.worse, found.better) == ("class c3", "champion", 100, 50, 0)
    assert found.wealth >= found.bar == pytest.approx(11 / ALPHA)


def test_wealth_is_that_of_the_slice_alone():
    rng = np.random.default_rng(5)
    gains = rng.choice([1, 0, -1], p=[0.05, 0.75, 0.2], size=300)
    labels = [f"c{row % 3}" for row in range(300)]
    found = harm(contest(gains, labels))
    wealths = {OVERALL: log_wealth(-gains, bound=MARGIN)}
    wealths |= {f"class c{k}": log_wealth(-gains[k::3], bound=MARGIN) for k in range(3)}
    worst = max(wealths, key=wealths.get)
    assert (found.slice, found.wealth) == (worst, pytest.approx(math.exp(wealths[worst])))


def test_harm_spread_over_all_classes_is_found_overall():
    labels = [f"c{row % 100}" for row in range(2000)]
    found = harm(contest(lost(2000, range(0, 2000, 25)), labels))
    assert (found.slice, shown(found)) == (OVERALL, True)


def test_several_columns_are_watched():
    gains = lost(600, range(0, 600, 6))
    partitions = [
        part_rows("class", [row % 3 for row in range(600)]),
        part_rows("slice", ["eu" if row % 6 == 0 else None for row in range(600)]),
    ]
    found = harm(Comparison("champion", gains, None, partitions))
    assert (found.slice, found.rows, found.worse) == ("slice eu", 100, 100)
    assert found.bar == pytest.approx(5 / ALPHA)


def test_small_losses_that_each_step_hides_show_against_the_anchor():
    labels = ["a"] * 1000
    step, sum_of_steps = lost(1000, range(8)), lost(1000, range(60))
    assert not shown(harm(contest(step, labels)))
    found = harm(contest(step, labels), contest(sum_of_steps, labels, against="anchor"))
    assert (found.against, found.worse, shown(found)) == ("anchor", 60, True)
    assert found.bar == pytest.approx(4 / ALPHA)


def test_the_bar_rises_with_the_slices_that_could_pass_and_with_no_others():
    labels = ["big"] * 100 + ["small"] * 3
    gains = lost(103, range(0, 100, 4))
    assert harm(contest(gains)).bar == pytest.approx(1 / ALPHA)
    assert harm(contest(gains, ["big"] * 103)).bar == pytest.approx(2 / ALPHA)
    assert harm(contest(gains, labels)).bar == pytest.approx(2 / ALPHA)
    rare = [f"r{row}" if row >= 60 else "big" for row in range(103)]
    assert harm(contest(gains, rare)).bar == pytest.approx(2 / ALPHA)


@given(st.lists(st.floats(0, 12), max_size=30), st.sampled_from([0.01, 0.05, 0.3]))
def test_the_number_of_slices_is_the_least_that_no_more_can_reach(possible, alpha):
    ceilings = np.array(possible)
    count = _worth_watching(ceilings, alpha)

    def able(number: int) -> int:
        return int((ceilings >= math.log(number / alpha)).sum())

    if len(ceilings) == 0:
        assert count == 0
        return
    brute = next(number for number in range(1, len(ceilings) + 1) if able(number) <= number)
    assert count == brute


def test_what_cannot_pass_is_not_reported_however_bad_it_is():
    found = harm(contest(lost(53, range(50, 53)), ["big"] * 50 + ["small"] * 3))
    assert found.slice != "class small"
    assert not shown(found)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_handful_of_rows_shows_no_harm(rows):
    found = harm(contest(lost(rows, range(rows)), ["a"] * rows))
    assert found == HarmTest(bar=found.bar)
    assert (found.rows, shown(found)) == (0, False)


def test_no_comparison_shows_no_harm():
    assert not shown(harm())
    assert not shown(harm(contest(np.empty(0)), contest(np.empty(0), against="anchor")))


def test_equal_predictions_show_no_harm():
    found = harm(contest(np.zeros(2000, np.int8), [row % 7 for row in range(2000)]))
    assert (found.worse, found.better) == (0, 0)
    assert found.wealth < 1


def test_enough_rows_all_lost_do():
    found = harm(contest(-np.ones(5000, dtype=np.int64)))
    assert shown(found)
    assert math.isfinite(found.wealth)


def test_a_slice_with_one_row_hides_nothing():
    labels = ["only"] + [f"c{row % 2}" for row in range(199)]
    found = harm(contest(lost(200, range(0, 200, 2)), labels))
    assert (found.slice, shown(found)) == ("class c1", True)


def test_weights_of_zero_and_one_are_a_choice_of_rows():
    rng = np.random.default_rng(6)
    gains = rng.choice([0, -1], p=[0.8, 0.2], size=400)
    weights = (rng.random(400) < 0.5).astype(float)
    labels = np.array([f"c{row % 2}" for row in range(400)])
    some = np.flatnonzero(weights)
    heavy, chosen = harm(contest(gains, list(labels), weights)), harm(contest(gains[some], list(labels[some])))
    assert (heavy.slice, heavy.bar) == (chosen.slice, chosen.bar)
    assert heavy.wealth == pytest.approx(chosen.wealth)


def test_light_losses_weigh_little():
    gains = lost(200, range(40))
    light = np.where(gains < 0, 0.01, 1.0)
    assert shown(harm(contest(gains)))
    assert not shown(harm(contest(gains, weights=light)))
    assert not shown(harm(contest(gains, weights=np.zeros(200))))


def test_a_loss_of_a_real_metric_is_found():
    rng = np.random.default_rng(7)
    gains = rng.normal(0.0, 0.05, 900).clip(-1, 1)
    labels = [row % 3 for row in range(900)]
    assert not shown(harm(contest(gains, labels)))
    hurt = np.where(np.arange(900) % 3 == 1, gains - 0.08, gains).clip(-1, 1)
    found = harm(contest(hurt, labels))
    assert (found.slice, shown(found)) == ("class 1", True)
    assert found.worse + found.better == 300


@pytest.mark.parametrize("kind", ["coins", "reals", "weighted"])
def test_a_loss_at_the_margin_in_ten_slices_is_seldom_called_harm(kind):
    rng = np.random.default_rng(8)
    lives, alpha, margin = 400, 0.2, 0.05
    labels = [f"c{row % 10}" for row in range(600)]
    refused = 0
    for _ in range(lives):
        if kind == "reals":
            gains = rng.uniform(-1, 1 - 2 * margin, 600)
        else:
            gains = rng.choice([1, 0, -1], p=[0.3 - margin, 0.4, 0.3 + margin], size=600)
        weights = rng.uniform(0.1, 1, 600) if kind == "weighted" else None
        refused += shown(harm(contest(gains, labels, weights), margin=margin, alpha=alpha))
    assert refused / lives <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / lives)


def test_five_points_of_loss_on_a_thousand_rows_are_harm():
    rng = np.random.default_rng(1)
    draws = [rng.choice([-1, 0, 1], p=[0.07, 0.91, 0.02], size=1000) for _ in range(40)]
    assert sum(shown(harm(contest(gains))) for gains in draws) >= 36


def test_ten_thousand_slices_are_watched_at_once():
    # One slice of 40 rows that is all lost, among those of 4 rows, which cannot pass and are not paid for.
    labels = [f"s{row % 9999}" for row in range(39_996)] + ["hurt"] * 40
    gains = lost(len(labels), range(39_996, 40_036))
    found = harm(contest(gains, labels), contest(gains, labels, against="anchor"))
    assert (found.slice, found.rows, found.worse, shown(found)) == ("class hurt", 40, 40, True)
    assert found.bar == pytest.approx(4 / ALPHA)


def test_ten_thousand_slices_that_could_pass_are_all_paid_for():
    labels = [f"s{row % 10_000}" for row in range(400_000)]
    found = harm(contest(lost(400_000, range(0, 400_000, 10_000)), labels))
    assert (found.slice, found.rows, found.worse) == ("class s0", 40, 40)
    assert found.bar == pytest.approx(10_001 / ALPHA)
    assert shown(found)
