"""Batches that contradict the champion, and new labels that do not stick."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dripstone.gate.sense import Sense, _binomial_tail, batch_sense, unlearned_labels


def exact_tail(successes: int, trials: int, p: float) -> float:
    return math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(successes + 1))


@pytest.mark.parametrize("trials", [1, 2, 7, 50, 300])
@pytest.mark.parametrize("p", [0.001, 0.25, 0.6, 0.999])
def test_binomial_tail_against_exact_sums(trials, p):
    for successes in {0, 1, trials // 3, trials // 2, trials - 1, trials}:
        found = _binomial_tail(successes, trials, p)
        assert found == pytest.approx(exact_tail(successes, trials, p), rel=1e-9)


def test_binomial_tail_at_the_ends():
    assert _binomial_tail(0, 5, 0.0) == _binomial_tail(3, 5, -0.1) == 1.0
    assert _binomial_tail(5, 5, 1.0) == 1.0
    assert _binomial_tail(4, 5, 1.0) == 0.0
    assert 0.0 < _binomial_tail(6000, 20_000, 0.305) < 0.5


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
    assert refusals(200, trusted, agreement=0.6, known=0.6, times=150) <= 0.02


def test_a_fall_as_large_as_is_tolerated_is_seldom_refused():
    assert refusals(100, 1000, agreement=0.6, known=0.85, times=200) <= 0.05


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


def test_a_new_label_is_unlearned_below_half_of_twenty_rows():
    targets = np.repeat([2, 3, 4], [20, 20, 19])
    right = np.concatenate([np.arange(20) < 9, np.arange(20) < 10, np.zeros(19, bool)])
    assert unlearned_labels(targets, right, known=2) == [2]


def test_known_and_nameless_labels_are_never_unlearned():
    targets = np.repeat([-1, 0, 1], 30)
    assert unlearned_labels(targets, np.zeros(90, bool), known=1) == [1]
    assert unlearned_labels(targets, np.zeros(90, bool), known=2) == []
    assert unlearned_labels(np.empty(0, dtype=np.int64), np.empty(0, bool), known=0) == []
