"""The closed form: ridge regression from statistics, exact over all rows so far, in whatever stages they came."""

from __future__ import annotations

import torch

from dripstone.core.protocols import Head
from dripstone.train.leave_one_out import best_scale, calibration_rows, left_out_scores, usual_error
from dripstone.train.solve import solve
from dripstone.train.statistics import Statistics, weighs_nothing


def fit_head(
    head: Head,
    statistics: Statistics,
    penalty: float,
    features: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> float | None:
    """Solve, write the solution into the head, and choose its scale.

    The scale turns ridge scores into logits whose softmax is calibrated: it minimises the log-loss of leave-one-out
    predictions of up to 256 of the rows just added. Where targets are numbers it is the usual leave-one-out error, and
    weight and bias are in units of it. Without such a row the head keeps its scale.

    Parameters
    ----------
    head : Head
        Its weight, bias and scale are overwritten in place.
    statistics : KeptRows or Sums
        Of every row so far, those just added included.
    penalty : float
        Of the squared weights, above 0.
    features : torch.Tensor
        [rows, features] float32, of the rows just added.
    targets : torch.Tensor
        [rows] int64 class indices, or float64 numbers.
    weights : torch.Tensor
        [rows] float, those given to ``add_rows``. Rows of weight 0 do not count.

    Returns
    -------
    float or None
        The share of those up to 256 rows that the solution of all other rows has right, each row counted once whatever
        its weight, or of numbers the share of their variance that it explains; None without such a row. It falls behind
        when the features no longer tell the classes apart.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite; the head is as it was then.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> from dripstone.train.statistics import add_rows, no_rows
    >>> head, targets = Head(Identity(2), classes=2), torch.tensor([0, 0, 1, 1])
    >>> rows = torch.tensor([[1.0, 0.1], [1.1, 0.0], [0.1, 1.0], [0.0, 1.1]]), targets, torch.ones(4)
    >>> fit_head(head, add_rows(no_rows(), head, *rows), 0.05, *rows)
    1.0
    """
    numbers = targets.is_floating_point()
    solution = solve(statistics, head, penalty, free_bias=numbers)
    chosen = calibration_rows(weights)
    score = None
    if len(chosen):
        scores = left_out_scores(statistics, solution, head, penalty, features, targets, weights)
        if numbers:
            errors = scores[:, 0] - targets[chosen]
            head.scale.fill_(usual_error(errors))
            score = _explained(errors, targets[chosen])
        else:
            head.scale.fill_(best_scale(scores, targets[chosen], weights[chosen].double()))
            score = float((scores.argmax(dim=1) == targets[chosen]).double().mean())
    _write(head, solution.weights, numbers=numbers)
    return score


def solve_again(head: Head, statistics: Statistics, penalty: float, *, numbers: bool) -> None:
    """Solve from statistics of fewer rows than before, and write the solution into the head, whose scale stays.

    Parameters
    ----------
    head : Head
        Its weight and bias are overwritten in place. A class that no row is left of gets zeros, which is what the
        closed form says of it; so does every class, where no row is left at all.
    statistics : KeptRows or Sums
        Of every row that is left.
    penalty : float
        Of the squared weights, above 0.
    numbers : bool
        Whether targets are numbers.

    Raises
    ------
    DivergedError
        If the statistics hold numbers that are not finite; the head is as it was then.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> from dripstone.train.statistics import add_rows, no_rows
    >>> head = Head(Identity(2), classes=2)
    >>> statistics = add_rows(no_rows(), head, torch.eye(2), torch.tensor([1, 1]), torch.ones(2))
    >>> solve_again(head, statistics, 0.5, numbers=False)
    >>> head.weight[0].tolist(), round(head.bias[1].item(), 2)
    ([0.0, 0.0], 0.57)
    """
    if weighs_nothing(statistics):
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
        return
    _write(head, solve(statistics, head, penalty, free_bias=numbers).weights, numbers=numbers)


def _write(head: Head, solution: torch.Tensor, *, numbers: bool) -> None:
    unit = float(head.scale) if numbers else 1.0
    with torch.no_grad():
        head.weight.copy_(solution[:-1].T / unit)
        head.bias.copy_(solution[-1] / unit)


def _explained(errors: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of the variance that these errors leave explained; 0 where they are no better than the mean."""
    spread = float((targets - targets.mean()).square().sum())
    return max(0.0, 1 - float(errors.square().sum()) / spread) if spread else 0.0
