"""The closed form: ridge regression from stored statistics, exact over all rows so far, in whatever stages they came.

With expanded features phi (a row of random Fourier features and a constant 1) and one-hot targets y, the statistics are

    G = sum w phi phi^T          C = sum w phi y^T

and the weights of the output layer solve (G + penalty I) W = C. New classes append columns to C; old rows need not be
seen again.

References
----------
McDonnell et al., "RanPAC", arXiv 2307.02251, equations 4 to 6. Zhuang et al., "ACIL", arXiv 2205.14922.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import DivergedError
from dripstone.core.protocols import Head
from dripstone.core.tensors import RawTensor

CHUNK = 512
CALIBRATION_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What the closed form needs of all rows so far. All float64, on the CPU.

    ``gram`` is G, [D+1, D+1]; ``cross`` is C, [D+1, classes]; ``mass`` the summed weight of each class, [classes].
    """

    gram: torch.Tensor
    cross: torch.Tensor
    mass: torch.Tensor

    @classmethod
    def empty(cls, expanded: int) -> Statistics:
        """Statistics of no rows, for ``expanded`` features."""
        size = expanded + 1
        return cls(
            torch.zeros(size, size, dtype=torch.float64),
            torch.zeros(size, 0, dtype=torch.float64),
            torch.zeros(0, dtype=torch.float64),
        )

    def to_raw(self) -> dict[str, RawTensor]:
        """Tensors to store. Of the symmetric Gram matrix only the lower half is kept."""
        rows, columns = torch.tril_indices(*self.gram.shape)
        return {
            "gram": to_raw(self.gram[rows, columns]),
            "cross": to_raw(self.cross),
            "mass": to_raw(self.mass),
        }

    @classmethod
    def from_raw(cls, tensors: Mapping[str, RawTensor]) -> Statistics:
        """Inverse of ``to_raw``."""
        cross = from_raw(tensors["cross"])
        size = cross.shape[0]
        gram = torch.zeros(size, size, dtype=torch.float64)
        rows, columns = torch.tril_indices(size, size)
        half = from_raw(tensors["gram"])
        gram[rows, columns] = half
        gram[columns, rows] = half
        return cls(gram, cross, from_raw(tensors["mass"]))


def add_rows(
    statistics: Statistics, head: Head, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> Statistics:
    """Statistics with more rows in them; the given ones are left as they are.

    Parameters
    ----------
    statistics : Statistics
        Of the rows so far.
    head : Head
        Expands features; its number of classes is that of the result.
    features : torch.Tensor
        [rows, features] float32.
    targets : torch.Tensor
        [rows] int64 class indices.
    weights : torch.Tensor
        [rows] float, not negative.
    """
    classes = len(head.bias)
    gram = statistics.gram.clone()
    cross = torch.zeros(len(gram), classes, dtype=torch.float64)
    cross[:, : statistics.cross.shape[1]] = statistics.cross
    mass = torch.zeros(classes, dtype=torch.float64)
    mass[: len(statistics.mass)] = statistics.mass
    weights = weights.double()
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        phi = _with_constant(head, features[part])
        weighted = phi * weights[part, None]
        gram.addmm_(weighted.T, phi)
        cross.T.index_add_(0, targets[part], weighted)
    mass.index_add_(0, targets, weights)
    return Statistics(gram, cross, mass)


def solve(statistics: Statistics, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [classes, D] and bias [classes], float32, that minimise the penalised squared error.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite.

    Examples
    --------
    >>> weight, bias = solve(Statistics.empty(3), penalty=0.1)
    >>> weight.shape, bias.shape
    (torch.Size([0, 3]), torch.Size([0]))
    """
    solution = torch.cholesky_solve(statistics.cross, _factor(statistics, penalty)).T.float()
    if not torch.isfinite(solution).all():
        raise DivergedError("the closed form gave weights that are not finite", remedy="raise train.ridge")
    return solution[:, :-1].contiguous(), solution[:, -1].contiguous()


def _factor(statistics: Statistics, penalty: float) -> torch.Tensor:
    system = statistics.gram.clone()
    system.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise DivergedError("the closed form's system is not positive definite", remedy="raise train.ridge")
    return factor


def fit_head(head: Head, statistics: Statistics, penalty: float, features: torch.Tensor, targets: torch.Tensor) -> None:
    """Solve, write the solution into the head, and choose its scale.

    The scale turns ridge scores into logits whose softmax is calibrated: it minimises the log-loss of leave-one-out
    predictions of up to 256 of the rows just added (``features`` [rows, d], ``targets`` [rows]).
    """
    factor = _factor(statistics, penalty)
    solution = torch.cholesky_solve(statistics.cross, factor)
    if not torch.isfinite(solution).all():
        raise DivergedError("the closed form gave weights that are not finite", remedy="raise train.ridge")
    with torch.no_grad():
        head.weight.copy_(solution[:-1].T)
        head.bias.copy_(solution[-1])
        if len(features):
            every = max(1, len(features) // CALIBRATION_ROWS)
            head.scale.fill_(_best_scale(head, factor, solution, features[::every], targets[::every]))


def _best_scale(
    head: Head, factor: torch.Tensor, solution: torch.Tensor, features: torch.Tensor, targets: torch.Tensor
) -> float:
    phi = _with_constant(head, features)
    half = torch.linalg.solve_triangular(factor, phi.T, upper=False)
    leverage = (half**2).sum(0).clamp(max=0.99)
    scores = phi @ solution
    # What a row's own label adds to its scores; without it the row is predicted as if it had been left out.
    one_hot = torch.nn.functional.one_hot(targets, solution.shape[1]).double()
    left_out = (scores - leverage[:, None] * one_hot) / (1 - leverage[:, None])
    scales = torch.logspace(0, 2.5, 41, dtype=torch.float64)
    losses = [torch.nn.functional.cross_entropy(scale * left_out, targets) for scale in scales]
    return float(scales[int(torch.stack(losses).argmin())])


def _with_constant(head: Head, features: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        phi = head.expand(features).double()
    return torch.cat([phi, torch.ones(len(phi), 1, dtype=torch.float64)], dim=1)
