"""When the loop stops."""

from __future__ import annotations

import math

import pytest

from dripstone.core.config import Stop
from dripstone.train.stopping import Patience, Stopwatch


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clocks(monkeypatch) -> dict[str, Clock]:
    found = {"cpu_seconds": Clock(), "wall_seconds": Clock()}
    monkeypatch.setattr("time.process_time", found["cpu_seconds"])
    monkeypatch.setattr("time.perf_counter", found["wall_seconds"])
    return found


def test_nothing_asked_never_ends(clocks):
    watch = Stopwatch(Stop())
    for _ in range(100):
        watch.step_done()
    for clock in clocks.values():
        clock.now += 1e9
    assert not watch.out_of_time()


def test_steps_are_counted():
    watch = Stopwatch(Stop(steps=3))
    ends = []
    for _ in range(4):
        ends.append(watch.out_of_time())
        watch.step_done()
    assert [*ends, watch.out_of_time()] == [False, False, False, True, True]


@pytest.mark.parametrize("key", ["cpu_seconds", "wall_seconds"])
def test_seconds_are_counted_from_the_beginning_each_by_its_own_clock(clocks, key):
    watch = Stopwatch(Stop(**{key: 2.5}))
    for clock in clocks.values():
        clock.now += 2.0
    assert not watch.out_of_time()
    other = next(clock for name, clock in clocks.items() if name != key)
    other.now += 100.0
    assert not watch.out_of_time()
    clocks[key].now += 0.5
    assert watch.out_of_time()


def test_whatever_comes_first_ends_it(clocks):
    watch = Stopwatch(Stop(steps=2, cpu_seconds=10, wall_seconds=10))
    watch.step_done()
    assert not watch.out_of_time()
    clocks["wall_seconds"].now += 10
    assert watch.out_of_time()


def test_real_clocks_run():
    watch = Stopwatch(Stop(cpu_seconds=1e-3))
    while not watch.out_of_time():
        sum(range(1000))
    watch = Stopwatch(Stop(wall_seconds=1e-3))
    while not watch.out_of_time():
        pass


def run(losses: list[float], epochs: int | None) -> list[tuple[bool, bool]]:
    patience = Patience(Stop(patience=epochs))
    return [(patience.improved(loss), patience.exhausted) for loss in losses]


def test_patience_counts_epochs_since_the_best_one():
    found = run([1.0, 0.5, 0.6, 0.4, 0.5, 0.45], 2)
    assert [better for better, _ in found] == [True, True, False, True, False, False]
    assert [over for _, over in found] == [False] * 5 + [True]


def test_a_loss_that_stays_is_no_progress():
    assert run([0.5, 0.5], 1) == [(True, False), (False, True)]


def test_what_is_not_a_number_is_no_progress():
    assert run([math.nan, math.inf, 1.0, math.nan], 2) == [(False, False), (False, True), (True, False), (False, False)]


def test_no_patience_asked_never_runs_out():
    assert not any(over for _, over in run([0.0] + [1.0] * 50, None))


def test_before_the_first_epoch_it_has_not_run_out():
    assert not Patience(Stop(patience=1)).exhausted
