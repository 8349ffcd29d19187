"""Duplicates, near duplicates and conflicts; what they cost, and what they are not."""

from __future__ import annotations

import numpy as np
import pytest

from dripstone.curate import dedupe
from dripstone.curate.dedupe import (
    CLOSE,
    CONFLICT,
    EXACT,
    Prints,
    distance_apart,
    find_duplicates,
    join_prints,
    no_prints,
    prints_of,
)
from dripstone.curate.schema import learn_schema

LONG = "i would like to know when my new credit card will be sent to me because the old one has expired"


def reasons(inputs, labels, past=None, schema=None, apart=0.0):
    schema = schema or learn_schema(inputs)
    kind = "text" if isinstance(inputs[0], str) else "array"
    return find_duplicates(prints_of(inputs, labels, schema), past or no_prints(kind), apart)


def test_the_first_of_several_stays():
    assert reasons(["Hello you!", "hello YOU", "héllo you", "bye"], ["a"] * 4) == [None, EXACT, EXACT, None]


def test_near_duplicates_of_a_label():
    assert reasons([LONG, LONG.replace("sent", "send")], ["a", "a"]) == [None, CLOSE]
    assert reasons([LONG, LONG.replace("sent", "send")], ["a", "b"]) == [None, None]
    assert reasons([LONG, LONG.replace("credit card", "passport and visa")], ["a", "a"]) == [None, None]


def test_what_all_texts_have_in_common_makes_none_of_them_alike():
    texts = ["card 1", "card 2", "😀😃😄", "😀😃😅", "é", "ü"]
    assert reasons(texts, ["a"] * 6) == [None] * 6
    sketches = prints_of(["abcd", "wxyz"], ["a", "a"], learn_schema(texts)).sketches
    assert (sketches[0] == sketches[1]).mean() < 0.05


def test_a_chain_of_rows_does_not_hang_on_the_first():
    words = [f"word{i}" for i in range(400)]
    chain = [" ".join(words[start : start + 40]) for start in range(200)]
    assert CLOSE in reasons(chain[:3], ["a"] * 3)
    assert reasons([chain[0], chain[40]], ["a", "a"]) == [None, None]
    found = reasons(chain, ["a"] * 200)
    staying = [place for place, reason in enumerate(found) if reason is None]
    assert 20 < len(staying) < 100
    for place, reason in enumerate(found):
        near = max((one for one in staying if one < place), default=0)
        assert reason is None or reasons([chain[near], chain[place]], ["a", "a"]) == [None, CLOSE]


def test_a_row_near_to_one_that_is_in_conflict_stays():
    near = LONG.replace("sent", "send")
    assert reasons([LONG, LONG, near], ["a", "b", "a"]) == [CONFLICT, CONFLICT, None]
    assert reasons([near, near, LONG], ["a", "a", "a"]) == [None, EXACT, CLOSE]


def test_rows_of_other_labels_are_not_in_the_way():
    texts = [LONG, *[f"{LONG} {i}" for i in range(40)], LONG.replace("sent", "send")]
    labels = ["a", *(f"label {i}" for i in range(40)), "a"]
    assert reasons(texts, labels) == [None] * 41 + [CLOSE]


def test_one_input_under_two_labels_is_learned_under_neither():
    assert reasons(["hi", "bye", "Hi!"], ["a", "a", "b"]) == [CONFLICT, None, CONFLICT]


def test_the_past_counts_and_is_not_judged():
    past = prints_of(["hi", LONG, "bye"], ["a", "a", "b"], learn_schema(["hi"]))
    new = ["HI", "bye", LONG + " !!", LONG.replace("sent", "send"), "new"]
    assert reasons(new, ["a", "a", "a", "a", "a"], past) == [EXACT, CONFLICT, EXACT, CLOSE, None]


def test_labels_of_different_types_are_different():
    assert reasons(["hi", "hi!"], [1, "1"]) == [CONFLICT, CONFLICT]


def test_near_duplicates_among_arrays_lie_far_nearer_than_rows_usually_do():
    draw = np.random.default_rng(0)
    rows = list(draw.random((300, 20)).astype(np.float32))
    schema = learn_schema(rows)
    apart = distance_apart(prints_of(rows, ["a"] * 300, schema))
    copies = [(row + draw.normal(0, 1e-3, 20)).astype(np.float32) for row in rows[:50]]
    found = reasons([*rows, *copies], ["a"] * 350, schema=schema, apart=apart)
    assert found[:300] == [None] * 300
    assert found[300:].count(CLOSE) >= 49
    assert reasons([*rows, *copies], ["a"] * 300 + ["b"] * 50, schema=schema, apart=apart).count(CLOSE) == 0


def test_rows_of_a_table_that_are_always_alike_are_no_duplicates():
    hours = [np.array([hour % 24, 10 + hour % 24 / 10, 0.5], dtype=np.float32) for hour in range(24)]
    schema = learn_schema(hours)
    apart = distance_apart(prints_of(hours, ["a"] * 24, schema))
    assert reasons(hours, ["a"] * 24, schema=schema, apart=apart) == [None] * 24


def test_arrays_without_a_usual_distance_are_compared_exactly():
    rows = [np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([1.0, 2.1])]
    assert reasons(rows, ["a"] * 3) == [None, EXACT, None]


def test_a_table_of_one_column_is_not_taken_for_duplicates_and_conflicts():
    draw = np.random.default_rng(0)
    rows = list(draw.random((4000, 1)).astype(np.float32))
    schema, labels = learn_schema(rows), draw.integers(0, 2, 4000).tolist()
    apart = distance_apart(prints_of(rows, labels, schema))
    found = reasons(rows, labels, schema=schema, apart=apart)
    assert found.count(CONFLICT) <= 2
    assert sum(reason is not None for reason in found) < 0.1 * 4000


def test_arrays_are_the_same_if_all_their_numbers_are():
    rows = [np.array([0.0, 1.0]), np.array([-0.0, 1.0]), np.array([0.0, np.nextafter(np.float32(1), 2)])]
    rows = [row.astype(np.float32) for row in rows]
    assert reasons(rows, ["a", "b", "c"]) == [CONFLICT, CONFLICT, None]


def test_numbers_far_beyond_the_first_ones_have_prints():
    first = [np.array([0.0, i], dtype=np.float32) for i in range(5)] + [np.array([1e-40, 0.5], dtype=np.float32)]
    schema = learn_schema(first)
    largest = float(np.finfo(np.float32).max)
    rows = [np.array(row, dtype=np.float32) for row in ([1, 0.3], [1, 3.9], [largest, -largest], [largest, -largest])]
    for apart in (0.1, 1e-30):
        assert reasons(rows, ["a"] * 4, schema=schema, apart=apart) == [None, None, None, EXACT]
        assert np.isfinite(prints_of(rows, ["a"] * 4, schema).sketches).all()


def test_a_flood_leaves_next_to_nothing():
    found = reasons([LONG.upper() + "!" * i for i in range(1000)], ["a"] * 1000)
    assert found == [None] + [EXACT] * 999
    found = reasons([f"{LONG} {7919 * i}" for i in range(1000)], ["a"] * 1000)
    assert found[0] is None
    assert found.count(CLOSE) >= 990


def test_comparisons_are_linear_in_the_rows(monkeypatch):
    compared = []

    def count(one, other, share):
        compared.append(len(one))
        return np.zeros(len(one), dtype=bool)

    monkeypatch.setattr(dedupe, "are_texts_alike", count)
    for rows in (500, 1000):
        compared.append(0)
        reasons([f"the very same text with number {i} at its end" for i in range(rows)], ["a"] * rows)
    once = compared.index(0, 1)
    assert sum(compared[once:]) < 2.5 * sum(compared[:once])
    assert sum(compared[once:]) <= 1000 * 16 * dedupe.COMPARED


def test_compared_are_the_latest_rows_that_stay(monkeypatch):
    monkeypatch.setattr(dedupe, "COMPARED", 1)
    sketches = np.zeros((3, 64), dtype=np.int32)
    sketches[1:, 48:] = 1  # a quarter of the first row's numbers, and of its bands
    sketches[2, 51::4] = 2  # near the second row, with bands of the first alone
    rows = Prints(np.array([[1, 7], [2, 7], [3, 7]]), sketches)
    assert find_duplicates(rows, no_prints("text"), 0.0) == [None, None, CLOSE]


def test_prints_are_joined_up_to_a_number():
    schema = learn_schema(["a"])
    one, two = prints_of(["a", "b"], ["x", "x"], schema), prints_of(["c"], ["x"], schema)
    joined = join_prints(one, two, most=2)
    assert (joined.hashes == np.concatenate([one.hashes[1:], two.hashes])).all()
    assert len(join_prints(None, two)) == 1
    assert len(join_prints(no_prints("text"), no_prints("text"))) == 0
    assert find_duplicates(no_prints("text"), one, 0.0) == []


@pytest.mark.parametrize("inputs", [[""], ["..."], ["😀", "😀 "]])
def test_texts_without_words_have_prints(inputs):
    assert len(prints_of(inputs, ["a"] * len(inputs), learn_schema(inputs))) == len(inputs)


def test_honest_digits_are_no_duplicates():
    from sklearn.datasets import load_digits

    pictures, digits = load_digits(return_X_y=True)
    rows = list(pictures.astype(np.float32))
    schema = learn_schema(rows[:500])
    apart = distance_apart(prints_of(rows[:500], digits[:500].tolist(), schema))
    found = reasons(rows, digits.tolist(), schema=schema, apart=apart)
    assert sum(reason is not None for reason in found) <= 2
