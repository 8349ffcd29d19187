"""The closed form: ridge regression from stored statistics, exact over all rows so far, in whatever stages they came.

With phi a row's features as the head expands them, and a constant 1, and with one-hot targets y, the statistics are

    G = sum w phi phi^T          C = sum w phi y^T

and the weights of the output layer solve (G + penalty I) W = C. New classes append columns to C; old rows need not be
seen again.

References
----------
McDonnell et al., "RanPAC", arXiv 2307.02251, section 4. Zhuang et al., "ACIL", arXiv 2205.14922.
Hastie et al., "The Elements of Statistical Learning", 2nd edition, section 7.10.1 (leave-one-out of a linear fit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dripstone.core.bits import from_raw, to_raw
from dripstone.core.errors import DivergedError, StoreError
from dripstone.core.protocols import Head
from dripstone.core.tensors import RawTensor

CHUNK = 512
"""Rows that are expanded at a time."""

BLOCK = 512
"""Side of the blocks in which the symmetric Gram matrix is computed and stored."""

CALIBRATION_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What the closed form needs of all rows so far. Float64, on the CPU.

    ``gram`` is G, [D+1, D+1], of which only the blocks that meet its lower half are filled; ``cross`` is C,
    [D+1, classes].
    """

    gram: torch.Tensor
    cross: torch.Tensor

    @classmethod
    def empty(cls, expanded: int) -> Statistics:
        """Statistics of no rows, for ``expanded`` features."""
        size = expanded + 1
        return cls(torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, 0, dtype=torch.float64))

    def to_raw(self) -> dict[str, RawTensor]:
        """Tensors to store. Of the Gram matrix only the blocks that meet its lower half are kept."""
        parts = [self.gram[rows, : rows.stop].reshape(-1) for rows in _blocks(len(self.gram))]
        return {"gram": to_raw(torch.cat(parts)), "cross": to_raw(self.cross)}

    @classmethod
    def from_raw(cls, tensors: Mapping[str, RawTensor]) -> Statistics:
        """Inverse of ``to_raw``, bit for bit.

        Raises
        ------
        StoreError
            If the tensors are not those of statistics; checked before memory is taken for them.
        """
        _check(tensors)
        cross = from_raw(tensors["cross"])
        packed = from_raw(tensors["gram"])
        gram = torch.zeros(len(cross), len(cross), dtype=torch.float64)
        start = 0
        for rows in _blocks(len(gram)):
            block = gram[rows, : rows.stop]
            block.copy_(packed[start : start + block.numel()].reshape(block.shape))
            start += block.numel()
        return cls(gram, cross)


def _blocks(size: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]


def _check(tensors: Mapping[str, RawTensor]) -> None:
    found = {name: (raw.dtype, raw.shape) for name, raw in tensors.items()}
    if found.keys() == {"gram", "cross"}:
        shape, (packed, *_) = tensors["cross"].shape, (*tensors["gram"].shape, 0)
        # A size that the Gram matrix is too small for is refused before its blocks are counted.
        if len(shape) == 2 and 0 < shape[0] ** 2 <= 2 * packed:
            packed = sum((rows.stop - rows.start) * rows.stop for rows in _blocks(shape[0]))
            if found == {"gram": ("F64", (packed,)), "cross": ("F64", shape)}:
                return
    raise StoreError(
        f"the stored statistics do not fit together: {found}",
        remedy="remove the store's folder training/state, it is rebuilt from the ledger",
        kind="store.corrupt",
    )


def add_rows(
    statistics: Statistics, head: Head, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> Statistics:
    """Statistics with more rows in them; the given ones are left as they are.

    Parameters
    ----------
    statistics : Statistics
        Of the rows so far; of no more classes than the head has.
    head : Head
        Expands features; its number of classes is that of the result.
    features : torch.Tensor
        [rows, features] float32.
    targets : torch.Tensor
        [rows] int64 class indices.
    weights : torch.Tensor
        [rows] float; a negative weight takes a row out again.

    Returns
    -------
    Statistics
        The same, up to rounding, in whatever order and portions the rows come.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> features, targets = torch.eye(3), torch.tensor([0, 1, 1])
    >>> both = add_rows(Statistics.empty(3), Head(Identity(3), classes=2), features, targets, torch.ones(3))
    >>> both.gram.diagonal().tolist(), both.cross[-1].tolist()
    ([1.0, 1.0, 1.0, 3.0], [1.0, 2.0])
    """
    classes = len(head.bias)
    gram = statistics.gram.clone()
    cross = torch.zeros(len(gram), classes, dtype=torch.float64)
    cross[:, : statistics.cross.shape[1]] = statistics.cross
    weights = weights.double()
    for start in range(0, len(features), CHUNK):
        part = slice(start, start + CHUNK)
        phi = _with_constant(head, features[part])
        weighted = phi * weights[part, None]
        for rows in _blocks(len(gram)):  # half the work of the whole product, which is symmetric
            gram[rows, : rows.stop].addmm_(weighted[:, rows].T, phi[:, : rows.stop])
        cross.T.index_add_(0, targets[part], weighted)
    return Statistics(gram, cross)


def solve(statistics: Statistics, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The minimiser of the penalised squared error.

    Returns
    -------
    solution : torch.Tensor
        W, [D+1, classes] float64; its last row is the bias.
    factor : torch.Tensor
        The lower Cholesky factor of G + penalty I, [D+1, D+1] float64.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite, or the solution does not fit float32.

    Examples
    --------
    >>> solution, factor = solve(Statistics.empty(3), penalty=0.25)
    >>> solution.shape, factor.diagonal().tolist()
    (torch.Size([4, 0]), [0.5, 0.5, 0.5, 0.5])
    """
    system = statistics.gram.clone()
    system.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(system)  # reads the lower half alone
    if failed:
        raise DivergedError("the closed form's system is not positive definite", remedy="raise train.ridge")
    solution = torch.cholesky_solve(statistics.cross, factor)
    if not torch.isfinite(solution.float()).all():
        raise DivergedError("the closed form gave weights that are not finite", remedy="raise train.ridge")
    return solution, factor


def fit_head(
    head: Head,
    statistics: Statistics,
    penalty: float,
    features: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    """Solve, write the solution into the head, and choose its scale.

    The scale turns ridge scores into logits whose softmax is calibrated: it minimises the log-loss of leave-one-out
    predictions of up to 256 of the rows just added. Without such a row the head keeps its scale.

    Parameters
    ----------
    head : Head
        Its weight, bias and scale are overwritten in place.
    statistics : Statistics
        Of every row so far, those just added included.
    penalty : float
        Of the squared weights, above 0.
    features : torch.Tensor
        [rows, features] float32, of the rows just added.
    targets : torch.Tensor
        [rows] int64 class indices.
    weights : torch.Tensor
        [rows] float, those given to ``add_rows``. Rows of weight 0 do not count.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite; the head is as it was then.
    """
    solution, factor = solve(statistics, penalty)
    with torch.no_grad():
        head.weight.copy_(solution[:-1].T)
        head.bias.copy_(solution[-1])
        chosen = _calibration_rows(weights)
        if len(chosen):
            phi = _with_constant(head, features[chosen])
            left_out = _left_out_scores(factor, solution, phi, targets[chosen], weights[chosen].double())
            head.scale.fill_(_best_scale(left_out, targets[chosen], weights[chosen].double()))


def _calibration_rows(weights: torch.Tensor) -> torch.Tensor:
    """Indices of up to 256 rows that count, evenly spaced."""
    counting = torch.nonzero(weights > 0).flatten()
    looked_at = min(len(counting), CALIBRATION_ROWS)
    return counting[torch.arange(looked_at) * len(counting) // max(looked_at, 1)]


def _left_out_scores(
    factor: torch.Tensor, solution: torch.Tensor, phi: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Scores of each row, [rows, classes], by the solution of all other rows; nothing is solved again.

    By the Sherman-Morrison formula a row of weight w pulls its scores towards its label by the share
    w phi^T (G + penalty I)^-1 phi, its leverage.
    """
    half = torch.linalg.solve_triangular(factor, phi.T, upper=False)
    # Below 1 but for rounding: a row that decides everything leaves nothing to predict it by.
    leverage = (weights * (half**2).sum(0)).clamp(max=1 - 1e-6)[:, None]
    one_hot = torch.nn.functional.one_hot(targets, solution.shape[1]).double()
    return (phi @ solution - leverage * one_hot) / (1 - leverage)


def _best_scale(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> float:
    scales = torch.logspace(0, 2.5, 41, dtype=torch.float64)
    losses = [
        weights @ torch.nn.functional.cross_entropy(scale * scores, targets, reduction="none") for scale in scales
    ]
    return float(scales[int(torch.stack(losses).argmin())])


def _with_constant(head: Head, features: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        phi = head.expand(features).double()
    return torch.cat([phi, torch.ones(len(phi), 1, dtype=torch.float64)], dim=1)
