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


@pytest.mark.parametrize(("share", "count"), [(0.7, 10), (0.7, 101), (0.5, 3), (0.5, 7), (0.9, 10), (0.3, 11)])
def test_rs2_learns_exactly_its_share_also_at_the_border_of_two_rounds(share, count):
    rows, size = torch.arange(100, 100 + count), max(FEWEST, round(share * count))
    losses = torch.full((100 + count,), torch.nan)
    times = torch.zeros(100 + count, dtype=torch.int64)
    for epoch in range(1, 41):
        part, factors = chosen(Prune("rs2", share), rows, epoch, 40, losses=losses)
        assert len(part) == len(set(part.tolist())) == size
        assert factors.tolist() == [1.0] * size
        times[part] += 1
        behind = times[rows]
        assert int(behind.max() - behind.min()) <= 1 + (epoch * size % count > 0)
        if epoch * size % count == 0:
            assert int(behind.min()) == int(behind.max()) == epoch * size // count


def test_rs2_lets_no_row_wait_for_more_than_two_rounds():
    last = torch.zeros(10, dtype=torch.int64)
    for epoch in range(1, 200):
        last[chosen(Prune("rs2", 0.3), torch.arange(10), epoch, 200)[0]] = epoch
        assert epoch - int(last.min()) <= 2 * 10 / 3 + 1


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_rs2_prefers_no_row(share):
    rows, times = torch.arange(9), torch.zeros(9)
    for seed in range(2000):
        times[chosen(Prune("rs2", share), rows, 2, seed=seed)[0]] += 1
    expected = 2000 * round(9 * share) / 9
    assert float(((times - expected) ** 2 / expected).sum()) < 26.1  # the 99.9 % quantile of chi-square, 8 degrees


@pytest.mark.parametrize("rule", ["rs2", "infobatch"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_two_rows_at_least_are_learned_where_there_are_two(rule, count):
    losses = torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64)
    for seed in range(20):
        for epoch in (1, 2, 3, 4):
            share = 0.1 if rule == "rs2" else 0.999
            part, factors = chosen(Prune(rule, share), torch.arange(count), epoch, seed=seed, losses=losses)
            assert len(part) == len(factors) >= min(count, FEWEST)


@pytest.mark.parametrize("text", ["0.5", ".25", "0.123456789", "0.00001"])
def test_what_is_written_reads_the_same(text):
    for words in ([text], ["infobatch", text]):
        prune = Prune.parse(words)
        assert prune.share == float(text)
        assert Prune.parse(str(prune).split(":")[1:]) == prune


@pytest.mark.parametrize(("count", "share"), [(100, 0.5), (100, 0.9), (4, 0.5), (3, 0.9)])
def test_infobatch_keeps_the_expected_sum_over_all_rows(count, share):
    losses = torch.linspace(0, 2, count, dtype=torch.float64) ** 2
    rows, total, draws = torch.arange(count), torch.zeros(count, dtype=torch.float64), 3000
    for seed in range(draws):
        part, factors = chosen(Prune("infobatch", share), rows, 2, seed=seed, losses=losses)
        total[part] += factors
    deviation = (share / (1 - share) / draws) ** 0.5  # of the mean of draws that are 1 / (1 - share), or 0
    assert torch.allclose(total / draws, torch.ones(count, dtype=torch.float64), atol=4 * deviation)
    assert float((total * losses).sum() / draws) == pytest.approx(float(losses.sum()), rel=0.03)


def test_infobatch_leaves_out_rows_below_the_mean_alone():
    losses = torch.cat([torch.full((50,), 0.1), torch.full((50,), 1.0)]).double()
    part, factors = chosen(Prune("infobatch", 0.5), torch.arange(100), 2, losses=losses)
    assert set(range(50, 100)) <= set(part.tolist())
    assert 10 < int((part < 50).sum()) < 40
    assert int((factors[part < 50] != 2.0).sum()) <= FEWEST  # those that are learned in any case
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
    assert all(len(chosen(prune, rows, epochs, epochs, losses=known)[0]) == 100 for epochs in range(1, 9))


def test_infobatch_goes_by_the_rows_that_it_is_given():
    losses = torch.cat([torch.full((50,), 9.0), torch.linspace(0, 1, 50)]).double()
    part, _ = chosen(Prune("infobatch", 0.9), torch.arange(50, 100), 2, losses=losses)
    assert set(part.tolist()) <= set(range(50, 100))
    assert set(range(75, 100)) <= set(part.tolist())  # above their own mean, far below that of all rows
