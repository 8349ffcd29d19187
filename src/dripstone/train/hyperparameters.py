"""Hyperparameters of the closed form: kernel width and penalty, chosen by leave-one-out on the first stage's rows.

References
----------
Rifkin and Lippert, "Notes on Regularized Least Squares", MIT-CSAIL-TR-2007-025 (all penalties from one
eigendecomposition). Hastie et al., "The Elements of Statistical Learning", 2nd edition, section 7.10.1 (the rule of
standard errors).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dripstone.core.protocols import Head
from dripstone.core.spacing import spaced
from dripstone.train.solve import lower_products
from dripstone.train.statistics import as_outputs, expand

ROWS = 1000
FEWEST_ROWS = 50

WIDTHS = (0.6, 1.0, 1.6)
"""In units of the width that the head was fitted with."""

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""In units of the penalty that the head came with."""

STANDARD_ERRORS = 3.0
"""By which a setting has to beat the defaults. Chance alone makes one of seventeen others win by one, or by two."""


def choose_hyperparameters(
    head: Head, features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, ridge: float | None = None
) -> None:
    """Set width and penalty by the leave-one-out error, in the head.

    Of all settings whose error lies within three standard errors of the lowest one (those of paired differences), the
    one nearest to the defaults is taken: an easy first stage tells nothing about later ones. Fewer than 50 rows that
    count, or rows of one class, leave the defaults, and so do features that are not finite.

    Parameters
    ----------
    head : Head
        Fitted, with the default penalty. The buffer ``width`` of its expansion, where it has one, and its ``penalty``
        are overwritten in place.
    features : torch.Tensor
        [rows, features] float32, of the first stage. At most 1,000 rows, evenly spaced, are looked at.
    targets : torch.Tensor
        [rows] int64 class indices, or float64 numbers.
    weights : torch.Tensor
        [rows] float; rows of weight 0 do not count.
    ridge : float, optional
        A penalty that is given: the width alone is chosen, for this one.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    >>> head = Head(Identity(4), classes=2)
    >>> choose_hyperparameters(head, features, (features[:, 0] > 0).long(), torch.ones(100))
    >>> round(head.penalty.item(), 4)
    0.05
    """
    counting = torch.nonzero(weights > 0).flatten()
    looked_at = counting[torch.from_numpy(spaced(len(counting), ROWS))]
    features, targets, weights = features[looked_at], targets[looked_at], weights[looked_at].double()
    if len(targets) < FEWEST_ROWS or len(targets.unique()) < 2:
        return
    width = dict(head.expansion.named_buffers()).get("width")
    widths = (1.0,) if width is None else WIDTHS
    default, penalties = (float(head.penalty), PENALTIES) if ridge is None else (ridge, (1.0,))
    expanded = [expand(head, features / wider) for wider in widths]  # smaller features: the same as a wider kernel
    if not all(torch.isfinite(phi).all() for phi in expanded):
        return
    wrong = [_left_out_errors(phi, targets, weights, default, penalties) for phi in expanded]
    place = _nearest(torch.stack(wrong), weights, widths.index(1.0), penalties.index(1.0))
    if width is not None:
        width.mul_(widths[place[0]])
    if ridge is None:
        head.penalty.mul_(penalties[place[1]])


def _left_out_errors(
    phi: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, default: float, penalties: Sequence[float]
) -> torch.Tensor:
    """Whether the solution of all other rows has a row wrong, or the squared error of numbers, [penalties, rows]."""
    roots = weights.sqrt()[:, None]
    numbers = targets.is_floating_point()
    wanted = as_outputs(targets, -1)
    if numbers:  # the bias goes free of the penalty: what it explains is taken away from both sides
        phi, wanted = (side - (weights @ side) / weights.sum() for side in (phi, wanted))
    values, vectors = torch.linalg.eigh(lower_products(roots * phi))
    projected = vectors.T @ (roots * wanted)
    wrong = []
    for times in penalties:
        inverse = 1 / (values.clamp(min=0) + times * default)
        freedom = vectors.square() @ inverse
        scores = wanted - vectors @ (inverse[:, None] * projected) / (roots * freedom[:, None])
        if numbers:
            wrong.append((scores - wanted)[:, 0].square())
        else:
            wrong.append((scores.argmax(dim=1) != targets).double())
    return torch.stack(wrong)


def _nearest(wrong: torch.Tensor, weights: torch.Tensor, width: int, penalty: int) -> tuple[int, int]:
    """The place nearest to that of the defaults whose error is as good as the lowest; of [widths, penalties, rows]."""
    share = weights / weights.sum()
    losses = wrong @ share
    worse = wrong - wrong.flatten(end_dim=1)[losses.argmin()]
    mean = worse @ share
    deviation = ((worse - mean[..., None]).square() @ share.square()).sqrt()
    as_good = torch.nonzero(mean <= STANDARD_ERRORS * deviation).tolist()
    _, _, *place = min((abs(i - width) + abs(j - penalty), float(losses[i, j]), i, j) for i, j in as_good)
    return place[0], place[1]
