"""The solution: the batch's, from rows as from sums, or an error that leaves nothing behind."""

from __future__ import annotations

import math

import pytest
import torch
from closed_form_samples import CLASSES, PENALTY, SIZES, collect, plain_head, problem, random_head

from dripstone.core.errors import DivergedError
from dripstone.train.solve import solve
from dripstone.train.statistics import BLOCK, Sums, add_rows, no_rows, to_sums


def both_forms(size: int = 200):
    head = plain_head(CLASSES, size)
    kept = collect(problem(40, size), head)
    return kept, to_sums(kept, head), head


def test_the_smaller_system_is_solved():
    kept, sums, head = both_forms()
    rows = len(kept.weights)
    assert solve(kept, head, PENALTY).factor.shape == (rows, rows)
    assert solve(sums, head, PENALTY).factor.shape == (201, 201)


def test_the_factor_is_that_of_the_system():
    _, sums, head = both_forms()
    gram = torch.cat([block for _, block in sums.blocks()])
    factor = solve(sums, head, PENALTY).factor
    assert torch.equal(factor, factor.tril())
    assert torch.allclose(factor @ factor.T, gram + PENALTY * torch.eye(201).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_solving_changes_neither_statistics_nor_head(size):
    head = plain_head(CLASSES, size)
    statistics = collect(problem(40, size), head)
    before = statistics.to_raw()
    first, again = solve(statistics, head, PENALTY), solve(statistics, head, PENALTY)
    assert torch.equal(first.weights, again.weights)
    assert statistics.to_raw() == before
    assert not head.weight.any()


@pytest.mark.parametrize("size", SIZES)
def test_a_class_without_rows_scores_zero(size):
    head = plain_head(CLASSES + 2, size)
    weights = solve(add_rows(no_rows(), head, *problem(40, size)), head, PENALTY).weights
    assert weights.shape == (size + 1, CLASSES + 2)
    assert not weights[:, CLASSES:].any()


@pytest.mark.parametrize("size", SIZES)
def test_more_penalty_means_smaller_weights(size):
    head = plain_head(CLASSES, size)
    statistics = collect(problem(40, size), head)
    sizes = [float(solve(statistics, head, penalty).weights.norm()) for penalty in (0.01, 1.0, 100.0, 1e7)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-3


@pytest.mark.parametrize("classes", [0, 3])
def test_statistics_of_no_rows_solve_to_zero(classes):
    head = plain_head(classes)
    for statistics in (no_rows(), to_sums(no_rows(), head)):
        weights = solve(statistics, head, PENALTY).weights
        assert weights.shape == (7, classes)
        assert not weights.any()


def test_the_solver_reads_the_lower_half_alone():
    rows = problem(40)
    head = random_head(rows[0], BLOCK + 100)
    sums = to_sums(collect(rows, head), head)
    expected = solve(sums, head, PENALTY).weights
    for start, (_, block) in zip((0, BLOCK), sums.blocks(), strict=True):
        block[:, start:] = torch.where(torch.ones_like(block[:, start:]).triu(1) > 0, math.nan, block[:, start:])
    assert torch.equal(solve(sums, head, PENALTY).weights, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_sums_that_are_not_finite_are_a_divergence(value):
    _, sums, head = both_forms()
    sums.cross[2, 1] = value
    with pytest.raises(DivergedError, match="finite"):
        solve(sums, head, PENALTY)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rows_that_are_not_finite_are_a_divergence(value):
    kept, _, head = both_forms()
    kept.features[3] = value
    with pytest.raises(DivergedError, match="finite"):
        solve(kept, head, PENALTY)


def test_a_matrix_that_is_not_positive_definite_is_a_divergence():
    _, sums, head = both_forms()
    with pytest.raises(DivergedError, match="positive definite"):
        solve(Sums(-sums.gram, sums.cross), head, PENALTY)
