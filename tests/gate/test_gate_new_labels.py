"""New labels: those that do not stick, and those that take from old ones."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.gate.new_labels import Theft, find_thefts, likeness, unlearned_labels, unlearned_rows

KNOWN = 20


def trusted(per_class: int) -> tuple[np.ndarray, np.ndarray]:
    targets = np.repeat(np.arange(KNOWN), per_class)
    return targets, np.ones(len(targets), bool)


def thefts(targets: np.ndarray, right: np.ndarray, answers: np.ndarray, margin: float = 0.01) -> list[Theft]:
    return find_thefts(targets, right, answers, KNOWN, margin)


def taken(targets: np.ndarray, label: int, old: int, count: int) -> np.ndarray:
    answers = targets.copy()
    answers[np.flatnonzero(targets == old)[:count]] = label
    return answers


def test_a_new_label_is_unlearned_below_half_of_twenty_rows():
    targets = np.repeat([2, 3, 4], [20, 20, 19])
    right = np.concatenate([np.arange(20) < 9, np.arange(20) < 10, np.zeros(19, bool)])
    assert unlearned_labels(targets, right, known=2) == [2]


def test_known_and_nameless_labels_are_never_unlearned():
    targets = np.repeat([-1, 0, 1], 30)
    assert unlearned_labels(targets, np.zeros(90, bool), known=1) == [1]
    assert unlearned_labels(targets, np.zeros(90, bool), known=2) == []
    assert unlearned_labels(np.empty(0, dtype=np.int64), np.empty(0, bool), known=0) == []


@pytest.mark.parametrize("rows", [16, 40, 200])
def test_half_of_a_class_under_a_new_name_is_theft(rows):
    targets, right = trusted(rows)
    assert thefts(targets, right, taken(targets, KNOWN, 3, rows // 2)) == [Theft(KNOWN, 3, rows // 2, rows)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_honest_new_label_may_take_a_fifth_of_a_small_class(count):
    targets, right = trusted(16)  # 3 of 16 are 19 %
    assert thefts(targets, right, taken(targets, KNOWN, 3, count)) == []


def test_honest_new_labels_may_take_half_a_percent_of_all():
    targets, right = trusted(100)
    answers = targets.copy()
    answers[::200] = KNOWN  # one row of every second class
    assert (answers >= KNOWN).mean() == 0.005
    assert thefts(targets, right, answers) == []


def test_a_little_of_every_class_is_theft_from_all():
    targets, right = trusted(100)
    answers = targets.copy()
    answers[::25] = KNOWN
    assert thefts(targets, right, answers) == [Theft(KNOWN, None, 80, 2000)]
    assert thefts(targets, right, answers, margin=0.05) == []


def test_answers_that_were_wrong_before_are_not_stolen():
    targets, right = trusted(40)
    answers = taken(targets, KNOWN, 3, 20)
    assert thefts(targets, right & (answers < KNOWN), answers) == []
    assert thefts(targets, np.zeros(len(targets), bool), answers) == []


def test_each_thief_is_named_once_and_honest_labels_are_not():
    targets, right = trusted(40)
    answers = taken(targets, KNOWN, 3, 20)
    answers[np.flatnonzero(targets == 7)[:30]] = KNOWN + 1
    answers[np.flatnonzero(targets == 9)[:2]] = KNOWN + 2
    assert {theft.label: theft.old for theft in thefts(targets, right, answers)} == {KNOWN: 3, KNOWN + 1: 7}


def test_the_worst_theft_is_named():
    targets, right = trusted(40)
    answers = taken(targets, KNOWN, 3, 20)
    answers[np.flatnonzero(targets == 7)] = KNOWN
    assert thefts(targets, right, answers) == [Theft(KNOWN, 7, 40, 40)]


def test_rows_of_new_or_unknown_labels_are_nobodys():
    targets = np.array([-1] * 50 + [KNOWN] * 50 + [0] * 50)
    answers = np.where(targets == 0, 0, KNOWN)
    assert thefts(targets, np.ones(150, bool), answers) == []


def test_without_rows_or_new_labels_there_is_no_theft():
    targets, right = trusted(40)
    assert thefts(targets, right, targets) == []
    assert thefts(targets, right, np.full(len(targets), -1)) == []
    nothing = np.empty(0, np.int64)
    assert thefts(nothing, np.empty(0, bool), nothing) == []
    assert find_thefts(targets, right, targets, known=0, margin=0.01) == []


def test_honest_new_labels_are_seldom_called_thieves():
    rng = np.random.default_rng(12)
    targets, right = trusted(30)
    flagged = 0
    for _ in range(200):
        # Five new labels, each takes about 1 in 20 rows of one old class that it resembles.
        answers = targets.copy()
        for new in range(5):
            mine = (targets == new) & (rng.random(len(targets)) < 0.05)
            answers[mine] = KNOWN + new
        flagged += len(thefts(targets, right, answers))
    assert flagged / 200 <= 0.02


def test_a_theft_must_be_beyond_chance_and_the_chance_is_shared():
    targets, right = trusted(16)
    assert thefts(targets, right, taken(targets, KNOWN, 3, 4)) == []  # 7 in 100 where a tenth is tolerated
    assert thefts(targets, right, taken(targets, KNOWN, 3, 6)) == [Theft(KNOWN, 3, 6, 16)]  # 3 in 1,000
    answers = targets.copy()
    for new in range(6):
        answers[np.flatnonzero(targets == new)[:6]] = KNOWN + new
    assert thefts(targets, right, answers) == []


def test_rows_of_the_same_class_are_alike_and_those_of_another_are_not():
    draw = np.random.default_rng(0)
    old = draw.normal(1.0, 0.1, 40)
    assert likeness(old, draw.normal(1.0, 0.1, 100)) == pytest.approx(0.5, abs=0.15)
    assert likeness(old, draw.normal(0.4, 0.1, 100)) < 0.01
    assert likeness(old, np.full(100, 2.0)) == 1.0


@pytest.mark.parametrize(("old", "new"), [(4, 100), (40, 19), (0, 0)])
def test_a_few_rows_say_too_little(old, new):
    assert likeness(np.ones(old), np.ones(new)) is None


def test_a_few_rows_are_enough_where_the_new_rows_look_like_theirs():
    targets, right = trusted(8)
    answers = targets.copy()
    answers[:2] = KNOWN
    assert thefts(targets, right, answers) == []
    assert find_thefts(targets, right, answers, KNOWN, 0.01, {KNOWN: 0}) == [Theft(KNOWN, 0, taken=2, rows=8)]
    assert find_thefts(targets, right, answers, KNOWN, 0.01, {KNOWN: 1}) == []


@pytest.mark.parametrize(
    ("rows", "before", "after", "unlearned"),
    [
        (19, 0, 0, False),  # too few to say
        (20, 0, 1, True),
        (20, 0, 2, False),
        (200, 20, 37, True),
        (200, 20, 38, False),
        (200, 20, 10, True),
        (40, 40, 40, False),  # nothing was wrong
    ],
)
def test_rows_of_another_kind_have_to_teach_something(rows, before, after, unlearned):
    places = np.arange(rows)
    assert unlearned_rows(places < before, places < after) == unlearned
