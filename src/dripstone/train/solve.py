"""Ridge regression from statistics: by features from sums, or by examples from rows, whichever system is smaller.

From sums the weights of the output layer solve (G + penalty I) W = C. From rows, with Phi their expanded features and S
the roots of their weights, (S Phi Phi^T S + penalty I) B = S Y and W = Phi^T S B: the same minimiser.

Where targets are numbers, the bias goes free of the penalty, which would otherwise pull the answers towards 0: a number
may lie far from it, where one-hot classes do not.

References
----------
Saunders et al., "Ridge Regression Learning Algorithm in Dual Variables", ICML 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dripstone.core.errors import DivergedError
from dripstone.core.memory import room
from dripstone.core.protocols import Head
from dripstone.train.statistics import KeptRows, Statistics, Sums, blocks_of, expand


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The minimiser of the penalised squared error.

    ``weights`` is W, [D+1, classes] float64; its last row is the bias. ``factor`` is the lower Cholesky factor of the
    system that gave it, float64: [D+1, D+1] from sums, [rows, rows] from rows.
    """

    weights: torch.Tensor
    factor: torch.Tensor


def solve(statistics: Statistics, head: Head, penalty: float, *, free_bias: bool = False) -> Solution:
    """Solve for the output layer; the head is only read.

    Parameters
    ----------
    statistics : KeptRows or Sums
        Of no more classes than the head has.
    head : Head
        Expands the rows that are kept; its number of classes is that of the solution.
    penalty : float
        Of the squared weights, above 0.
    free_bias : bool
        Leave the bias out of the penalty; of sums only.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite, or the solution does not fit float32.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> from dripstone.train.statistics import add_rows, no_rows, to_sums
    >>> head = Head(Identity(3), classes=2)
    >>> statistics = add_rows(no_rows(), head, torch.eye(3)[:2], torch.tensor([0, 1]), torch.ones(2))
    >>> rows, sums = solve(statistics, head, 0.5), solve(to_sums(statistics, head), head, 0.5)
    >>> rows.factor.shape, sums.factor.shape, torch.allclose(rows.weights, sums.weights)
    (torch.Size([2, 2]), torch.Size([4, 4]), True)
    """
    solution = (
        _from_rows(statistics, head, penalty)
        if isinstance(statistics, KeptRows)
        else _from_sums(statistics, penalty, free_bias=free_bias)
    )
    if not torch.isfinite(solution.weights.float()).all():
        raise DivergedError("the closed form gave weights that are not finite", remedy="raise train.ridge")
    return solution


def _from_sums(sums: Sums, penalty: float, *, free_bias: bool) -> Solution:
    size = len(sums.cross)
    system = room(size * size).view(size, size)
    for rows, block in sums.blocks():
        system[rows, : rows.stop] = block
    if free_bias:
        system[-1, -1] -= penalty
    factor = _factorise(system, penalty)
    return Solution(_substitute(factor, sums.cross), factor)


def _from_rows(kept: KeptRows, head: Head, penalty: float) -> Solution:
    roots = kept.weights.sqrt()[:, None]
    phi = expand(head, kept.features).mul_(roots)
    factor = _factorise(lower_products(phi), penalty)
    right = torch.zeros(len(phi), len(head.bias), dtype=torch.float64)
    right[torch.arange(len(phi)), kept.targets] = roots[:, 0]
    return Solution((_substitute(factor, right).T @ phi).T, factor)  # phi.T first is 17 times slower for 10 classes


def lower_products(phi: torch.Tensor) -> torch.Tensor:
    """The products of every two rows, [rows, rows]: of the blocks that meet the lower half, the rest is not filled."""
    products = torch.empty(len(phi), len(phi), dtype=phi.dtype)
    for rows in blocks_of(len(phi)):
        products[rows, : rows.stop] = phi[rows] @ phi[: rows.stop].T
    return products


def _factorise(system: torch.Tensor, penalty: float) -> torch.Tensor:
    """The lower Cholesky factor of system + penalty I, in the system's memory; its lower half alone is read."""
    system.diagonal().add_(penalty)
    columns = system.T  # LAPACK wants columns one after the other: so nothing is copied
    failed = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, upper=True, out=(columns, failed))
    if failed:
        raise DivergedError(
            "the closed form's system is not positive definite, or holds numbers that are not finite",
            remedy="raise train.ridge",
        )
    return system


def _substitute(factor: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    forward = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.T, forward, upper=True)
