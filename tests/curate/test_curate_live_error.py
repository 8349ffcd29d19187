"""A rise of the error is an alarm, once; a fall and chance are not; the state is a bounded array."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from dripstone.core.errors import UsageError
from dripstone.curate import live_error
from dripstone.curate.live_error import WINDOW, LiveError, _likely_change, watch_errors

NONE = np.zeros(0, bool)


def answers(count, wrong, seed=0):
    return np.random.default_rng(seed).random(count) < wrong


def by_calls(stream, size, delta=0.01):
    """The window and all alarms of a stream that comes in calls of a size."""
    window, alarms = NONE, []
    for start in range(0, len(stream), size):
        window, found = watch_errors(window, stream[start : start + size], delta)
        if found.alarm:
            alarms.append((start, found))
    return window, alarms


def likelihood(wrong, count):
    share = wrong / count
    return sum(part * math.log(part / count) for part in (wrong, count - wrong) if part) if 0 < share < 1 else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_likely_change_is_the_best_of_all_splits(seed):
    stream = np.append(answers(40, 0.1, seed), answers(25, 0.5, seed))
    splits = range(5, 61)
    values = [likelihood(stream[:k].sum(), k) + likelihood(stream[k:].sum(), 65 - k) for k in splits]
    assert _likely_change(stream) == splits[int(np.argmax(values))]


def test_the_likely_change_by_hand():
    assert _likely_change(np.repeat([False, True], [20, 10])) == 20
    assert _likely_change(np.repeat([True, False], [7, 30])) == 7


def test_a_rise_is_an_alarm_and_the_window_is_what_came_after_it():
    window, found = watch_errors(answers(1000, 0.05), answers(200, 0.5, seed=1))
    assert found.alarm
    assert found.before < 0.08
    assert found.after > 0.4
    assert 180 <= len(window) == found.rows_after <= 220
    assert found.rows_before == 1200 - len(window)


def test_a_fall_cuts_the_window_and_is_no_alarm():
    window, found = watch_errors(answers(1000, 0.5), answers(300, 0.05, seed=1))
    assert not found.alarm
    assert 280 <= len(window) <= 320
    assert found.after == window.mean()


def test_a_rise_that_a_fall_undoes_within_a_call_is_no_alarm():
    stream = np.concatenate([answers(1000, 0.02), answers(300, 0.6, seed=1), answers(300, 0.02, seed=2)])
    window, found = watch_errors(NONE, stream)
    assert not found.alarm
    assert 290 <= len(window) <= 310


def test_a_rise_after_a_fall_is_seen_against_the_lower_error():
    stream = np.concatenate([answers(500, 0.4), answers(500, 0.02, seed=1), answers(200, 0.4, seed=2)])
    _, found = watch_errors(NONE, stream)
    assert found.alarm
    assert found.before < 0.1


@pytest.mark.parametrize("size", [1, 10, 64, 500])
def test_one_rise_is_one_alarm_however_the_answers_come(size):
    stream = np.append(answers(600, 0.05, seed=3), answers(400, 0.4, seed=4))
    window, alarms = by_calls(stream, size)
    assert len(alarms) == 1
    start, found = alarms[0]
    assert 600 - size < start <= 680
    assert 395 <= len(window) <= 420
    assert found.before < 0.08


def test_the_calls_make_no_difference_to_the_window():
    stream = np.concatenate([answers(700, 0.1, seed=5), answers(150, 0.5, seed=6), answers(400, 0.05, seed=7)])
    windows = [by_calls(stream, size)[0] for size in (7, 100, len(stream))]
    assert all(len(window) < 420 and (window == windows[0]).all() for window in windows)


@pytest.mark.parametrize("wrong", [0.0, 0.05, 0.3, 1.0])
def test_false_alarms_are_rare(wrong):
    changed = [len(watch_errors(NONE, answers(3000, wrong, seed=life))[0]) < 3000 for life in range(60)]
    assert sum(changed) <= 4  # a share of 0.02 gives more in one run of a hundred


def test_the_window_is_bounded_and_keeps_the_newest():
    stream = answers(WINDOW + 5000, 0.1, seed=8)
    window, _ = watch_errors(stream[:5000], stream[5000:])
    assert window.dtype == bool
    assert len(window) == WINDOW
    assert (window == stream[5000:]).all()


def test_answers_are_read_once_where_nothing_changed(monkeypatch):
    read = []
    adwin = live_error._adwin

    class Counting:
        def __init__(self, delta):
            self.inner = adwin(delta)

        def update(self, wrong):
            read.append(wrong)
            self.inner.update(wrong)

        @property
        def drift_detected(self):
            return self.inner.drift_detected

    monkeypatch.setattr(live_error, "_adwin", Counting)
    watch_errors(answers(2000, 0.1), answers(100, 0.1, seed=1))
    assert len(read) == 2100
    read.clear()
    watch_errors(answers(2000, 0.1), answers(300, 0.7, seed=1))
    assert len(read) <= 2300 + 300


def test_numbers_serve_as_errors_and_nothing_is_changed():
    window, new = np.zeros(50, np.int64), np.array([0, 1, 1], np.uint8)
    after, found = watch_errors(window, new)
    assert after.tolist() == [False] * 51 + [True] * 2
    assert (found.after, found.rows_after) == (2 / 53, 53)
    assert (len(window), new.tolist()) == (50, [0, 1, 1])


def test_what_it_says():
    assert str(watch_errors(NONE, NONE)[1]) == "no answer has come back yet"
    assert str(watch_errors(NONE, np.ones(1, bool))[1]) == (
        "nothing shows that the error has risen: it is 100.0% in the last answer"
    )
    risen = LiveError(True, 0.051, 0.2, rows_before=9000, rows_after=1075)
    assert str(risen) == "the error has risen from 5.1% to 20.0% in the last 1,075 answers"


def test_without_river_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "river.drift", None)
    with pytest.raises(UsageError, match=r"pip install 'dripstone\[drift\]'"):
        watch_errors(NONE, answers(10, 0.5))
