"""Wrong rows that come one at a time are seen after a handful; honest ones practically never."""

import numpy as np
import pytest

from dripstone.gate.doubt import BAR, raise_doubt
from dripstone.gate.sense import like_batch


def stream(agreement: float, trusted: np.ndarray, batches: int, rows: int, seed: int) -> int | None:
    """The batch at which doubt is beyond reasonable, None if never."""
    draw = np.random.default_rng(seed)
    doubt = 0.0
    for number in range(1, batches + 1):
        doubt, certain = raise_doubt(doubt, draw.random(rows) < agreement, trusted, 0.25)
        if certain:
            return number
    return None


@pytest.mark.parametrize("known", [0.99, 0.9, 0.75, 0.6])
def test_honest_rows_are_never_doubted(known):
    trusted = np.arange(1000) < 1000 * known
    assert all(stream(known, trusted, 2000, rows, seed) is None for rows in (1, 3) for seed in range(3))


def test_rows_as_bad_as_is_tolerated_are_doubted_as_seldom_as_promised():
    trusted = np.arange(100_000) < 90_000
    runs = [stream(0.65, trusted, 3000, 1, seed) or 3000 for seed in range(60)]
    assert np.mean(runs) >= 100


@pytest.mark.parametrize(("known", "most"), [(0.99, 6), (0.9, 8), (0.75, 15)])
def test_wrong_rows_are_seen_after_a_handful(known, most):
    trusted = np.arange(1000) < 1000 * known
    assert stream(0.0, trusted, 100, 1, 0) <= most


def test_half_wrong_rows_are_seen():
    assert all(stream(0.5, np.arange(1000) < 970, 300, 2, seed) is not None for seed in range(20))


def test_doubt_is_bounded_and_honest_rows_end_it():
    trusted, wrong, right = np.ones(100, bool), np.zeros(1, bool), np.ones(1, bool)
    doubt = 0.0
    for _ in range(50):
        doubt, _ = raise_doubt(doubt, wrong, trusted, 0.25)
    assert doubt == BAR
    doubt, certain = raise_doubt(doubt, right, trusted, 0.25)
    assert not certain
    assert 0 < doubt < BAR
    assert raise_doubt(doubt, np.ones(20, bool), trusted, 0.25) == (0.0, False)


@pytest.mark.parametrize(
    ("agrees", "trusted", "tolerance"),
    [(0, 100, 0.25), (5, 19, 0.25), (5, 100, 0.99)],
    ids=["no row", "few trusted", "all is tolerated"],
)
def test_nothing_to_doubt_by(agrees, trusted, tolerance):
    found = raise_doubt(1.5, np.zeros(agrees, bool), np.arange(trusted) < 0.9 * trusted, tolerance)
    assert found == (1.5, False)


def test_trusted_rows_that_count_nothing_do_not_raise_what_is_expected():
    trusted, agrees = np.arange(200) < 100, np.arange(20) < 9
    poor = np.where(np.arange(200) < 100, 0.1, 1.0)
    assert raise_doubt(0.0, agrees, np.ones(200, bool), 0.25)[0] > 0
    assert raise_doubt(0.0, agrees, trusted, 0.25, poor) == (0.0, False)


def test_wrong_rows_under_a_label_that_the_champion_is_bad_at_are_seen_too():
    trusted, right = np.repeat([0, 1], [400, 40]), np.arange(440) < 408  # right on a fifth of the second label
    weights = like_batch(np.ones(1, dtype=int), trusted)
    doubt, certain, sent = 0.0, False, 0
    while not certain and sent < 200:
        doubt, certain = raise_doubt(doubt, np.zeros(1, bool), right, 0.25, weights)
        sent += 1
    assert sent < 70
    draw, doubt = np.random.default_rng(0), 0.0
    for _ in range(500):
        doubt, certain = raise_doubt(doubt, draw.random(1) < 0.27, right, 0.25, weights)  # as often as is expected
        assert not certain
