"""The reservoir is a uniform sample of all rows ever offered."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripstone.curate.replay import Replay, draw_balanced, herd, level, remember


def run(stages, capacity, seed):
    """Offer rows 0, 1, 2, ... in stages of the given sizes."""
    memory, seen = [], 0
    for size in stages:
        memory, seen = remember(memory, seen, range(seen, seen + size), capacity, seed)
    return memory, seen


def chi_square(counts, expected):
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def bound(degrees):
    """The 99.9 % quantile of chi-square, by Wilson and Hilferty (1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * np.sqrt(2 / (9 * degrees))) ** 3


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 12), st.integers(0, 2**32))
def test_bounded_without_repeats_and_only_of_what_was_offered(stages, capacity, seed):
    memory, seen = run(stages, capacity, seed)
    assert seen == sum(stages)
    assert len(memory) == len(set(memory)) == min(capacity, seen)
    assert set(memory) <= set(range(seen))


@given(st.lists(st.integers(0, 30), max_size=4), st.integers(0, 2**32))
def test_the_same_history_gives_the_same_memory(stages, seed):
    assert run(stages, 5, seed) == run(stages, 5, seed)


def test_other_seeds_give_other_memories():
    assert len({tuple(run([100], 5, seed)[0]) for seed in range(20)}) == 20


def test_stages_of_one_size_do_not_repeat_one_draw():
    replaced = set()
    memory, seen = run([10], 10, 0)
    for _ in range(5):
        before = memory
        memory, seen = remember(memory, seen, range(seen, seen + 10), 10, 0)
        replaced.add(tuple(old == new for old, new in zip(before, memory, strict=True)))
    assert len(replaced) > 1


@pytest.mark.parametrize("stages", [[20], [5, 15], [1] * 20, [7, 0, 13]])
def test_every_row_is_as_likely_whatever_the_stages(stages):
    runs, capacity, rows = 2000, 5, 20
    counts = np.zeros(rows)
    for seed in range(runs):
        counts[run(stages, capacity, seed)[0]] += 1
    assert counts.sum() == runs * capacity
    # A sample without replacement varies less than independent draws: by (rows - capacity) / (rows - 1).
    scaled = chi_square(counts, runs * capacity / rows) * (rows - 1) / (rows - capacity)
    assert scaled < bound(rows - 1)


def test_every_pair_is_as_likely():
    runs, rows = 3000, 6
    counts = dict.fromkeys([(a, b) for a in range(rows) for b in range(a + 1, rows)], 0)
    for seed in range(runs):
        counts[tuple(sorted(run([3, 3], 2, seed)[0]))] += 1
    assert chi_square(list(counts.values()), runs / len(counts)) < bound(len(counts) - 1)


def test_a_lower_capacity_keeps_a_uniform_part():
    runs, rows, capacity = 3000, 12, 3
    counts = np.zeros(rows)
    for seed in range(runs):
        memory, seen = run([rows], 6, seed)
        smaller, seen = remember(memory, seen, [], capacity, seed)
        assert len(smaller) == capacity
        assert set(smaller) <= set(memory)
        counts[smaller] += 1
    scaled = chi_square(counts, runs * capacity / rows) * (rows - 1) / (rows - capacity)
    assert scaled < bound(rows - 1)


def test_where_there_is_room_new_rows_fill_it():
    assert remember(["a"], 1, ["b", "c"], 5, 0) == (["a", "b", "c"], 3)
    assert remember([], 100, ["b"], 5, 0) == (["b"], 101)


def test_no_capacity_remembers_nothing_but_counts():
    assert remember(["a"], 1, ["b"], 0, 0) == ([], 2)


def test_the_given_memory_is_not_touched():
    memory = [1, 2, 3]
    remember(memory, 3, range(50), 3, 0)
    assert memory == [1, 2, 3]


def balanced(stages, capacity, key=b"k"):
    """Rows (id, label) offered in stages."""
    memory, counts = [], Counter()
    for stage in stages:
        pool = [*memory, *stage]
        counts.update(label for _, label in stage)
        kept = draw_balanced([row[0] for row in pool], [row[1] for row in pool], counts, capacity, key)
        memory = [pool[place] for place in kept]
        assert kept == sorted(set(kept))
        assert len(memory) <= capacity
    return memory


def labelled(counts, start=0):
    return [(f"{label}{start + i}", label) for label, count in counts.items() for i in range(count)]


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(0, 60))
def test_the_level_uses_the_room_and_never_more(counts, capacity):
    each = level(counts, capacity)
    assert 0 <= each <= capacity
    assert sum(min(count, each) for count in counts) <= capacity
    assert each == capacity or sum(min(count, each + 1) for count in counts) > capacity


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 40), st.data())
def test_the_level_never_rises_while_rows_come(counts, capacity, data):
    more = [count + data.draw(st.integers(0, 20)) for count in counts] + data.draw(
        st.lists(st.integers(1, 9), max_size=2)
    )
    assert level(more, capacity) <= level(counts, capacity)


@given(st.permutations(labelled({"a": 9, "b": 4, "c": 7})), st.integers(1, 6), st.integers(0, 25))
def test_a_balanced_memory_is_the_same_in_any_order_and_split(rows, size, capacity):
    stages = [rows[start : start + size] for start in range(0, len(rows), size)]
    assert set(balanced(stages, capacity)) == set(balanced([labelled({"a": 9, "b": 4, "c": 7})], capacity))


def test_three_hundred_stages_leave_each_label_at_the_level():
    draw = np.random.default_rng(0)
    stages = []
    for number in range(300):
        there = [f"label {i}" for i in range(1 + number // 20)]
        stages.append([(f"{number}-{i}", str(draw.choice(there))) for i in range(20)])
    for until in (5, 50, 299, 300):
        counts = Counter(label for stage in stages[:until] for _, label in stage)
        each = level(counts.values(), 200)
        kept = Counter(label for _, label in balanced(stages[:until], 200))
        assert kept == {label: min(count, each) for label, count in counts.items()}


def test_within_a_label_every_row_is_as_likely():
    stages = [
        labelled({"a": 12, "b": 3}),
        labelled({"a": 12, "c": 9}, start=12),
        labelled({"b": 8}, start=3),
        labelled({"a": 6, "c": 4}, start=24),
    ]
    rows = [row for stage in stages for row in stage]
    found = dict.fromkeys(rows, 0)
    runs = 1500
    for run_ in range(runs):
        for row in balanced(stages, 15, key=str(run_).encode()):
            found[row] += 1
    for label, count in Counter(label for _, label in rows).items():
        mine = [found[row] for row in rows if row[1] == label]
        assert sum(mine) == 5 * runs
        assert chi_square(mine, runs * 5 / count) * (count - 1) / (count - 5) < bound(count - 1)


def test_another_key_draws_other_rows():
    stages = [labelled({"a": 30, "b": 30})]
    assert len({tuple(balanced(stages, 6, key=str(i).encode())) for i in range(20)}) == 20


def test_the_level_goes_by_what_came_not_by_what_is_kept():
    ids, labels = [str(i) for i in range(7)], ["a"] * 4 + ["b"] * 3
    kept = draw_balanced(ids, labels, {"a": 1000, "b": 3}, 6, b"k")
    assert Counter(labels[place] for place in kept) == {"a": 3, "b": 3}
    assert draw_balanced([], [], {"a": 1000}, 6, b"k") == []


def test_more_labels_than_room_keep_one_row_each():
    memory = balanced([labelled({str(i): 3 for i in range(10)})], 4)
    assert len(memory) == len({label for _, label in memory}) == 4
    assert balanced([labelled({"a": 3})], 0) == []


def test_labels_of_two_types_are_two_labels():
    assert len(draw_balanced(["1", "2", "3", "4"], [1, "1", 1, "1"], {}, 2, b"k")) == 2


def test_herding_is_the_greedy_choice_of_the_mean_and_its_beginning_is_a_herd():
    draw = np.random.default_rng(0)
    features = draw.normal(0, 1, (12, 3))
    mean = features.mean(axis=0)
    chosen = herd(features, mean, 12)
    assert sorted(chosen) == list(range(12))
    for size in range(1, 7):
        assert herd(features, mean, size) == chosen[:size]
        before = features[chosen[: size - 1]].sum(axis=0)
        free = [row for row in range(12) if row not in chosen[: size - 1]]
        distances = [np.linalg.norm(mean - (before + features[row]) / size) for row in free]
        assert chosen[size - 1] == free[int(np.argmin(distances))]
    assert herd(features, mean, 99) == chosen
    assert np.linalg.norm(features[chosen[:4]].mean(axis=0) - mean) < np.linalg.norm(features[:4].mean(axis=0) - mean)
    assert herd(features, mean, 0) == []


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_herding_finds_the_nearest_mean_also_far_from_the_origin(shift):
    features = shift + np.random.default_rng(1).normal(0, 1, (40, 5))
    mean = features[:20].mean(axis=0)  # not that of the rows: it stands for more than is remembered
    chosen = herd(features, mean, 15)
    for size in range(1, 16):
        free = [row for row in range(40) if row not in chosen[: size - 1]]
        best = min(np.linalg.norm(mean - features[[*chosen[: size - 1], row]].mean(axis=0)) for row in free)
        assert np.linalg.norm(mean - features[chosen[:size]].mean(axis=0)) == pytest.approx(
            best, abs=1e-9 * (1 + shift)
        )


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_herds_of_few_rows_and_of_equal_ones(rows):
    assert sorted(herd(np.ones((rows, 2)), np.ones(2), 2)) == list(range(min(rows, 2)))


def test_neither_features_nor_mean_are_touched():
    features = np.random.default_rng(0).random((6, 2))
    before, mean = features.copy(), features.mean(axis=0)
    herd(features, mean, 4)
    assert (features == before).all()
    assert (mean == before.mean(axis=0)).all()


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("text", ["0", "500", "500:balanced", "999999999:herding"])
def test_what_is_written_reads_the_same(text, kind):
    assert str(Replay.parse(kind(text.split(":")))) == f"replay:{text}"


@pytest.mark.parametrize("text", ["", "-1", "1e3", "٣", "1234567890", "5:reservoir", "5:balanced:herding"])
def test_what_means_nothing_is_no_policy(text):
    assert Replay.parse(text.split(":")) is None
