"""Which rows an epoch learns."""

from __future__ import annotations

import pytest
import torch

from dripstone.curate.prune import FEWEST, Prune

UNKNOWN = torch.full((100,), torch.nan, dtype=torch.float64)


def chosen(prune, rows, epoch, epochs=20, seed=0, losses=UNKNOWN):
    return prune.choose(rows, losses, epoch, epochs, seed)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.2])
def test_rs2_sees_every_row_once_a_round(share):
    rows = torch.arange(100)[torch.arange(100) % 5 != 0]
    parts = [chosen(Prune("rs2", share), rows, epoch)[0] for epoch in range(1, round(1 / share) + 1)]
    assert all(len(part) == round(share * 80) for part in parts)
    assert sorted(torch.cat(parts).tolist()) == rows.tolist()


def test_rs2_draws_every_round_anew_and_the_seed_decides():
    rows, prune = torch.arange(100), Prune("rs2", 0.5)
    first = [set(chosen(prune, rows, epoch)[0].tolist()) for epoch in (1, 3, 5)]
    assert len({frozenset(part) for part in first}) == 3
    assert set(chosen(prune, rows, 1)[0].tolist()) == first[0]
    assert set(chosen(prune, rows, 1, seed=1)[0].tolist()) != first[0]


def test_rs2_at_the_border_of_two_rounds_learns_no_row_twice():
    for epoch in range(1, 12):
        part, factors = chosen(Prune("rs2", 0.7), torch.arange(10), epoch)
        assert len(part) == len(set(part.tolist())) <= 7
        assert factors.tolist() == [1.0] * len(part)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_rs2_learns_two_rows_at_least_where_there_are_two(count):
    assert len(chosen(Prune("rs2", 0.1), torch.arange(count), 1)[0]) == min(count, FEWEST)


def test_infobatch_keeps_the_expected_sum_over_all_rows():
    losses = torch.linspace(0, 2, 100, dtype=torch.float64)
    rows, total = torch.arange(100), torch.zeros(100, dtype=torch.float64)
    for seed in range(2000):
        part, factors = chosen(Prune("infobatch", 0.5), rows, 2, seed=seed, losses=losses)
        total[part] += factors
    assert torch.allclose(total / 2000, torch.ones(100, dtype=torch.float64), atol=0.1)


def test_infobatch_leaves_out_rows_below_the_mean_alone():
    losses = torch.cat([torch.full((50,), 0.1), torch.full((50,), 1.0)]).double()
    part, factors = chosen(Prune("infobatch", 0.5), torch.arange(100), 2, losses=losses)
    assert set(range(50, 100)) <= set(part.tolist())
    assert 10 < int((part < 50).sum()) < 40
    assert (factors[part < 50] == 2.0).all()
    assert (factors[part >= 50] == 1.0).all()


def test_infobatch_learns_rows_that_it_has_not_seen_and_all_rows_at_last():
    rows, prune = torch.arange(100), Prune("infobatch", 0.9)
    assert chosen(prune, rows, 1)[0].tolist() == rows.tolist()
    losses = UNKNOWN.clone()
    losses[:50] = torch.linspace(0, 1, 50)
    part, factors = chosen(prune, rows, 2, losses=losses)
    assert set(range(50, 100)) <= set(part.tolist())
    assert (factors[part >= 50] == 1.0).all()
    known = torch.linspace(0, 1, 100, dtype=torch.float64)
    assert [len(chosen(prune, rows, epoch, 8, losses=known)[0]) == 100 for epoch in (6, 7, 8)] == [False, False, True]


def test_infobatch_learns_two_rows_at_least():
    losses = torch.tensor([0.0, 0.0, 0.0, 9.0], dtype=torch.float64)
    for seed in range(50):
        part, factors = chosen(Prune("infobatch", 0.999), torch.arange(4), 2, seed=seed, losses=losses)
        assert len(part) >= FEWEST
        assert len(part) == len(factors)
