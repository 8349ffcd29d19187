"""Batches, and single classes of them, that contradict the champion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dripstone.gate.sense import (
    Sense,
    batch_sense,
    binomial_tail,
    class_sense,
    effective_rows,
    exceeds_chance,
    like_batch,
)


def exact_tail(successes: int, trials: int, p: float) -> float:
    return math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes + 1))


@pytest.mark.parametrize("trials", [1, 2, 7, 50, 300])
@pytest.mark.parametrize("p", [0.001, 0.25, 0.6, 0.999])
def test_binomial_tail_against_exact_sums(trials, p):
    for successes in {0, 1, trials // 3, trials // 2, trials - 1, trials}:
        found = binomial_tail(successes, trials, p)
        assert found == pytest.approx(exact_tail(successes, trials, p), rel=1e-9)


def test_binomial_tail_at_the_ends():
    assert binomial_tail(0, 5, 0.0) == binomial_tail(3, 5, -0.1) == 1.0
    assert binomial_tail(5, 5, 1.0) == 1.0
    assert binomial_tail(4, 5, 1.0) == 0.0
    assert 0.0 < binomial_tail(6000, 20_000, 0.305) < 0.5


def refusals(rows: int, trusted: int, agreement: float, known: float, times: int = 60) -> float:
    rng = np.random.default_rng(rows * 10_000 + trusted)
    sound = [batch_sense(rng.random(rows) < agreement, rng.random(trusted) < known, 0.25).sound for _ in range(times)]
    return 1 - np.mean(sound)


@pytest.mark.parametrize("known", [0.4, 0.6, 0.85, 0.99])
@pytest.mark.parametrize("rows", [1, 20, 300])
def test_honest_batches_make_sense(rows, known):
    for trusted in (30, 1000):
        assert refusals(rows, trusted, known, known) <= 0.02


@pytest.mark.parametrize("trusted", [1, 2, 5])
def test_a_few_trusted_rows_that_happen_to_be_right_refuse_no_honest_batch(trusted):
    assert refusals(200, trusted, agreement=0.6, known=0.6, times=80) <= 0.03


def test_a_fall_as_large_as_is_tolerated_is_seldom_refused():
    assert refusals(100, 1000, agreement=0.6, known=0.85, times=100) <= 0.05


def test_shuffled_batches_are_refused():
    assert refusals(20, 100, agreement=0.1, known=0.85) >= 0.99


def test_half_shuffled_batches_are_refused():
    assert refusals(200, 400, agreement=0.44, known=0.85) >= 0.95


@pytest.mark.parametrize(("rows", "trusted"), [(0, 0), (0, 10), (10, 0)])
def test_with_nothing_to_compare_a_batch_is_sound(rows, trusted):
    sense = batch_sense(np.zeros(rows, bool), np.zeros(trusted, bool), 0.25)
    assert sense == Sense(rows, 1.0, 1.0, sound=True)


def test_one_or_two_odd_rows_are_no_proof():
    trusted = np.ones(500, bool)
    assert batch_sense(np.zeros(1, bool), trusted, 0.25).sound
    assert batch_sense(np.zeros(2, bool), trusted, 0.25).sound
    assert not batch_sense(np.zeros(8, bool), trusted, 0.25).sound


def test_a_champion_that_knows_nothing_refuses_nothing():
    assert batch_sense(np.zeros(1000, bool), np.zeros(1000, bool), 0.25).sound
    assert batch_sense(np.zeros(1000, bool), np.arange(1000) < 200, 0.25).sound


def test_shares_are_reported():
    sense = batch_sense(np.arange(10) < 4, np.arange(20) < 15, 0.25)
    assert (sense.rows, sense.agreement, sense.trusted) == (10, 0.4, 0.75)


CLASSES = 20
DIFFICULTY = np.linspace(0.5, 0.98, CLASSES)
"""Share of each class on which the champion is right."""


def drawn(rng: np.random.Generator, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    targets = np.repeat(np.arange(CLASSES), per_class)
    return targets, rng.random(len(targets)) < DIFFICULTY[targets]


@pytest.mark.parametrize(("rows", "trusted"), [(3, 10), (30, 10), (30, 200)])
def test_honest_classes_of_different_difficulty_are_seldom_set_aside(rows, trusted):
    rng = np.random.default_rng(11)
    flagged = sum(len(class_sense(*drawn(rng, rows), *drawn(rng, trusted), 0.25)) for _ in range(15))
    assert flagged / 15 <= 0.02


@pytest.mark.parametrize("bad", [8, 13, 19])
def test_one_mislabelled_class_among_twenty_is_found_alone(bad):
    rng = np.random.default_rng(bad)
    for _ in range(5):
        targets, agrees = drawn(rng, 30)
        agrees[targets == bad] = rng.random(30) < 0.03
        found = class_sense(targets, agrees, *drawn(rng, 60), 0.25)
        assert list(found) == [bad]
        assert (found[bad].rows, found[bad].sound) == (30, False)
        assert found[bad].agreement < 0.25 < found[bad].trusted


def test_classes_without_trusted_rows_are_never_set_aside():
    targets = np.repeat([0, 1, 7], 50)
    found = class_sense(targets, np.zeros(150, bool), np.repeat([0, 2], 100), np.ones(200, bool), 0.25)
    assert list(found) == [0]
    assert class_sense(targets, np.zeros(150, bool), np.empty(0, np.int64), np.empty(0, bool), 0.25) == {}
    assert class_sense(np.empty(0, np.int64), np.empty(0, bool), targets, np.ones(150, bool), 0.25) == {}


def test_a_single_row_of_a_class_is_no_proof():
    assert class_sense(np.array([0]), np.array([False]), np.zeros(500, int), np.ones(500, bool), 0.25) == {}


def test_any_fall_beyond_chance_is_seen_and_honest_rows_seldom_are():
    rng = np.random.default_rng(13)

    def seen(agreement: float) -> float:
        return np.mean([exceeds_chance(rng.random(200) < agreement, rng.random(400) < 0.9) for _ in range(60)])

    assert seen(0.9) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert seen(0.95) == 0
    assert seen(0.75) >= 0.95
    assert not exceeds_chance(np.empty(0, bool), np.ones(9, bool))
    assert not exceeds_chance(np.zeros(9, bool), np.empty(0, bool))


def test_trusted_rows_count_like_the_labels_of_the_batch():
    trusted = np.repeat([0, 1], [900, 100])
    weights = like_batch(np.repeat([0, 1], [10, 90]), trusted)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[trusted == 1].sum() == pytest.approx(0.9, abs=0.05)
    assert like_batch(np.repeat([0, 1], [90, 10]), trusted) == pytest.approx(1 / 1000, rel=0.06)


def test_without_trusted_rows_of_a_label_all_of_them_stand_in():
    weights = like_batch(np.array([2, 2]), np.repeat([0, 1], [30, 10]))
    assert weights == pytest.approx(1 / 40)
    assert like_batch(np.array([], dtype=int), np.array([0, 1])).tolist() == [0.0, 0.0]
    assert like_batch(np.array([0]), np.array([], dtype=int)).shape == (0,)


def test_a_batch_of_the_labels_that_the_champion_is_bad_at_makes_sense():
    targets, trusted = np.repeat([0, 1], [10, 90]), np.repeat([0, 1], [300, 40])
    right = np.concatenate([np.ones(300, bool), np.arange(40) < 20])
    agrees = np.concatenate([np.ones(10, bool), np.arange(90) < 45])
    assert not batch_sense(agrees, right, 0.25).sound
    weights = like_batch(targets, trusted)
    sense = batch_sense(agrees, right, 0.25, weights=weights)
    assert sense.sound
    assert sense.trusted == pytest.approx(0.1 + 0.9 * 0.5, abs=0.06)
    assert exceeds_chance(agrees, right)
    assert not exceeds_chance(agrees, right, weights)
    assert not batch_sense(np.concatenate([np.ones(10, bool), np.zeros(90, bool)]), right, 0.25, weights=weights).sound


@pytest.mark.parametrize("own", [0, 1, 2, 10])
def test_a_flood_under_a_label_with_few_trusted_rows_is_still_refused(own):
    trusted = np.repeat([0, 1], [500, own])
    weights = like_batch(np.ones(200, dtype=int), trusted)
    assert not batch_sense(np.zeros(200, bool), np.ones(len(trusted), bool), 0.25, weights=weights).sound


def test_equal_weights_are_no_weights():
    right = np.arange(200) < 170
    assert effective_rows(right, None) == (170.0, 200.0)
    assert effective_rows(right, np.full(200, 0.3)) == pytest.approx((170.0, 200.0))
    assert effective_rows(right, np.zeros(200)) == (170.0, 200.0)
    few = np.where(np.arange(200) < 10, 1.0, 0.0)
    assert effective_rows(right, few) == pytest.approx((10.0, 10.0))
