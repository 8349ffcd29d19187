"""Leave-one-out: what the solution of all other rows would say of each row, with nothing solved again.

References
----------
Hastie et al., "The Elements of Statistical Learning", 2nd edition, section 7.10.1.
"""

from __future__ import annotations

import torch

from dripstone.core.protocols import Head
from dripstone.core.spacing import spaced
from dripstone.train.solve import Solution
from dripstone.train.statistics import KeptRows, Statistics, as_outputs, expand

CALIBRATION_ROWS = 256

NORMAL = 1.4826
"""The deviation of a normal distribution over the median of its sizes."""

SCALES = torch.logspace(0, 2.5, 41, dtype=torch.float64)
"""Among which that of the logits is chosen."""


def calibration_rows(weights: torch.Tensor) -> torch.Tensor:
    """Indices of up to 256 rows that count, evenly spaced.

    Examples
    --------
    >>> calibration_rows(torch.tensor([0.0, 1.0, 0.0, 2.0])).tolist()
    [1, 3]
    """
    counting = torch.nonzero(weights > 0).flatten()
    return counting[torch.from_numpy(spaced(len(counting), CALIBRATION_ROWS))]


def left_out_scores(
    statistics: Statistics,
    solution: Solution,
    head: Head,
    penalty: float,
    features: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """Scores of the rows just added, [rows, classes] float64, each by the solution of all rows but that one.

    By the Sherman-Morrison formula a row of weight w pulls its scores towards its target by the share
    w phi^T (G + penalty I)^-1 phi, its leverage.

    Parameters
    ----------
    statistics : KeptRows or Sums
        With these rows in it; kept rows have them at their end.
    solution : Solution
        Of these statistics, with this head and penalty.
    features, targets, weights : torch.Tensor
        [rows, features], [rows] and [rows], as they were added. Only the calibration rows get scores.
    """
    chosen = calibration_rows(weights)
    phi = expand(head, features[chosen])
    if isinstance(statistics, KeptRows):
        latest = int((weights > 0).sum())
        freedom = _freedom_of_kept(
            solution.factor,
            penalty,
            len(statistics.weights) - latest + torch.from_numpy(spaced(latest, CALIBRATION_ROWS)),
        )
    else:
        freedom = _freedom(solution.factor, phi, weights[chosen].double())
    wanted = as_outputs(targets[chosen], solution.weights.shape[1])
    return wanted - (wanted - phi @ solution.weights) / freedom[:, None]


def _freedom(factor: torch.Tensor, phi: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """One less the leverages, of rows by their expanded features."""
    half = torch.linalg.solve_triangular(factor, phi.T, upper=False)
    # Above 0 but for rounding: a row that decides everything leaves nothing to predict it by.
    return (1 - weights * (half**2).sum(0)).clamp(min=1e-6)


def _freedom_of_kept(factor: torch.Tensor, penalty: float, places: torch.Tensor) -> torch.Tensor:
    """The same of kept rows, by their places: the penalty times the inverse system's diagonal."""
    unit = torch.zeros(len(factor), len(places), dtype=torch.float64)
    unit[places, torch.arange(len(places))] = 1
    half = torch.linalg.solve_triangular(factor, unit, upper=False)
    return penalty * (half**2).sum(0)


def best_scale(scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> float:
    """The scale that turns scores into logits with the least log-loss."""
    losses = [
        weights @ torch.nn.functional.cross_entropy(scale * scores, targets, reduction="none") for scale in SCALES
    ]
    return float(SCALES[int(torch.stack(losses).argmin())])


def usual_error(errors: torch.Tensor) -> float:
    """The size of a usual error, above 0: the deviation of the normal distribution with their median size.

    Of the median, so that a few rows far out do not widen what counts as usual. Where half of them are exactly 0, the
    root of their mean square; where all are, 1.

    Examples
    --------
    >>> round(usual_error(torch.tensor([-1.0, 1.0, 1.0, 50.0])), 2)
    1.48
    """
    median = float(errors.abs().median())
    return NORMAL * median or float(errors.double().square().mean().sqrt()) or 1.0
