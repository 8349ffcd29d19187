"""Batches: every row once, of even size, from the generator alone, texts of like length together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dripstone.train.batches import POOL, make_batches

ARRAYS = [np.zeros(2, dtype="f4")] * 200


def texts(count: int) -> list[str]:
    lengths = np.random.default_rng(0).integers(1, 200, size=count)
    return ["x" * int(length) for length in lengths]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(rows: list[str], batches: list[torch.Tensor]) -> int:
    """Places that the batches take, padding included."""
    return sum(len(batch) * max(len(rows[i]) for i in batch.tolist()) for batch in batches)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 23, 200])
@pytest.mark.parametrize("rows", [ARRAYS, texts(200), []], ids=["arrays", "texts", "features"])
def test_every_row_that_counts_once_in_batches_of_even_size(rows, count, size):
    counting = torch.randperm(200, generator=generator(5))[:count].sort().values
    batches = make_batches(rows, counting, size, generator())
    assert sorted(i for batch in batches for i in batch.tolist()) == counting.tolist()
    sizes = [len(batch) for batch in batches]
    assert len(sizes) == -(-count // size)
    assert max(sizes, default=0) <= size
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("size", [3, 4, 8, 32])
def test_no_single_row_is_left_over(size):
    for count in range(2, 150):
        assert min(len(batch) for batch in make_batches(ARRAYS, torch.arange(count), size, generator())) > 1


@pytest.mark.parametrize("rows", [ARRAYS, texts(200)], ids=["arrays", "texts"])
def test_the_same_state_gives_the_same_batches_and_each_epoch_others(rows):
    def epochs(seed: int) -> list[list[list[int]]]:
        draws = generator(seed)
        return [[b.tolist() for b in make_batches(rows, torch.arange(200), 8, draws)] for _ in range(2)]

    assert epochs(0) == epochs(0)
    first, second = epochs(0)
    assert first != second
    assert epochs(1)[0] != first


def test_nobody_elses_random_numbers_are_moved():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    make_batches(texts(50), torch.arange(50), 8, generator())
    assert torch.equal(torch.rand(2), expected)


def test_arrays_are_shuffled_and_cut_and_nothing_else():
    order = torch.randperm(100, generator=generator())
    batches = make_batches(ARRAYS, torch.arange(100), 8, generator())
    assert torch.equal(torch.cat(batches), order)


def test_texts_of_like_length_share_a_batch():
    rows = texts(2000)
    batches = make_batches(rows, torch.arange(2000), 16, generator())
    shuffled = list(torch.randperm(2000, generator=generator()).split(16))
    needed = sum(len(row) for row in rows)
    assert padded(rows, shuffled) > 1.8 * needed
    assert padded(rows, batches) < 1.08 * needed


def test_batches_come_in_no_order_of_length():
    rows = texts(2000)
    batches = make_batches(rows, torch.arange(2000), 16, generator())
    longest = torch.tensor([float(max(len(rows[i]) for i in batch.tolist())) for batch in batches])
    neighbours = torch.corrcoef(torch.stack([longest[:-1], longest[1:]]))[0, 1]
    assert abs(neighbours) < 0.25


def test_a_row_meets_others_in_the_next_epoch():
    rows, draws = texts(2000), generator()
    company: set[int] = set()
    for _ in range(10):
        (mine,) = [batch for batch in make_batches(rows, torch.arange(2000), 16, draws) if 7 in batch]
        company |= set(mine.tolist())
    assert len(company) > 60  # of at most 151


@pytest.mark.parametrize("batches", [POOL - 1, POOL, POOL + 1, 2 * POOL + 1])
def test_the_last_pool_is_no_smaller_than_the_others(batches):
    """A last pool of one batch would be of any lengths."""
    rows = texts(8 * batches)
    made = make_batches(rows, torch.arange(len(rows)), 8, generator())
    spreads = [max(lengths) - min(lengths) for b in made if (lengths := [len(rows[i]) for i in b.tolist()])]
    assert max(spreads) < 100


def test_texts_of_equal_length_are_shuffled_too():
    batches = make_batches(["same"] * 40, torch.arange(40), 8, generator())
    assert all(batch.tolist() != sorted(batch.tolist()) for batch in batches)
