"""A head to tune features by: cosines with one prototype a class.

The closed form fits its training rows almost without error, so that behind it a loss leaves nothing to learn. Cosines
with class means leave a loss, and what lowers it draws the rows of a class together: features that a closed form then
does better on, also for classes that come later.

References
----------
Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", arXiv 1804.09458, section 3.2.
"""

from __future__ import annotations

import torch
from torch import nn

SCALE = 20.0


class Prototypes(nn.Module):
    """``scale * cosine(features, weight)``, a row of ``weight`` a class.

    Parameters
    ----------
    features : torch.Tensor
        [rows, features] float32, from which the prototypes start: the means of the classes.
    targets : torch.Tensor
        [rows] int64.
    classes : int
        A class without a row starts at zero.

    Examples
    --------
    >>> head = Prototypes(torch.eye(2), torch.tensor([0, 1]), classes=2)
    >>> head(torch.eye(2)).argmax(dim=1).tolist()
    [0, 1]
    """

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, classes: int) -> None:
        super().__init__()
        self.features = features.shape[1]
        unit = nn.functional.normalize(features.detach().float(), dim=1)
        sums = torch.zeros(classes, unit.shape[1], device=unit.device).index_add_(0, targets, unit)
        self.weight = nn.Parameter(nn.functional.normalize(sums, dim=1))
        self.bias = nn.Parameter(torch.zeros(classes, device=unit.device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, classes] logits."""
        unit = nn.functional.normalize(features.float(), dim=1)
        return SCALE * nn.functional.linear(unit, self.weight) + self.bias
