"""Out-of-fold scores: what a model says of each new row that has seen the other ones, and not this one.

The champion has seen none of them. What it does not know yet, labels that are new with this batch above all, a ridge
regression of what it leaves unexplained adds, by leave-one-out. It works on a few hundred columns: telling a wrong
label from a right one takes less than telling two alike classes apart, and next to the forward pass it costs nothing.

References
----------
Hastie et al., "The Elements of Statistical Learning", 2nd edition, section 7.10.1 (leave-one-out from one solution).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from dripstone.core.protocols import Head
from dripstone.train.statistics import CHUNK, expand

COLUMNS = 512
"""Of the expanded features that are looked at; all plain features in any case, up to `MOST_COLUMNS`."""

MOST_COLUMNS = 1024

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Of the regression, in units of the mean squared length of a row."""


def out_of_fold_scores(
    head: Head, features: torch.Tensor, targets: torch.Tensor, champion_logits: torch.Tensor, classes: int
) -> Iterator[torch.Tensor]:
    """Scores of new rows, [rows, classes] float64, about 1 for the label and 0 for the others; for each penalty.

    Which penalty is right depends on how many of the labels are, so that whoever asks for the scores has to choose.

    Parameters
    ----------
    head : Head
        Expands the features; fitted.
    features : torch.Tensor
        [rows, features] float32.
    targets : torch.Tensor
        [rows] int64, below ``classes``.
    champion_logits : torch.Tensor
        [rows, known classes], the first of ``classes``.
    classes : int
        Of the scores.

    Examples
    --------
    >>> from dripstone.models.head import Head, Identity
    >>> features, targets = torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 10), torch.tensor([0, 1] * 10)
    >>> scores = out_of_fold_scores(Head(Identity(2)), features, targets, torch.empty(20, 0), 2)
    >>> all(one.argmax(dim=1).equal(targets) for one in scores)
    True
    """
    one_hot = torch.nn.functional.one_hot(targets, classes).double()
    prior = torch.zeros(len(features), classes, dtype=torch.float64)
    prior[:, : champion_logits.shape[1]] = _as_scores(champion_logits.double(), one_hot)
    left, values, _ = torch.linalg.svd(_columns(head, features), full_matrices=False)
    squares, projected = values.square(), left.T @ (one_hot - prior)
    unit = float(squares.sum()) / max(len(features), 1)
    for penalty in PENALTIES:
        shrunk = squares / (squares + penalty * unit)
        freedom = (1 - left.square() @ shrunk).clamp(min=1e-6)
        yield one_hot - (one_hot - prior - left @ (shrunk[:, None] * projected)) / freedom[:, None]


def _columns(head: Head, features: torch.Tensor) -> torch.Tensor:
    """[rows, columns] float64: the first of the expanded features, and a constant 1."""
    size = head.weight.shape[1]
    columns = [*range(min(max(COLUMNS, head.features), MOST_COLUMNS, size)), size]
    # A portion at a time: all expanded features of all rows would take ten times the memory of those that are kept.
    return torch.cat([expand(head, part)[:, columns] for part in features.split(CHUNK)])


def _as_scores(logits: torch.Tensor, one_hot: torch.Tensor) -> torch.Tensor:
    """Logits moved and scaled to come near to 1 for the label and to 0 for the others, all alike."""
    if not logits.numel():
        return logits
    wanted = one_hot[:, : logits.shape[1]]
    spread = logits - logits.mean()
    slope = (spread * wanted).sum() / spread.square().sum().clamp(min=1e-12)
    return slope * spread + wanted.mean()
