"""Distillation (LwF): new rows keep the champion's answers among the labels that it knew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

TEMPERATURE = 2.0
"""Softens both answers, as in the paper, so that small scores count as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Distillation:
    """A term of the loss: on new rows, how far the candidate's answers have gone from the champion's.

    The divergence of the two answers at temperature 2, each restricted to the labels that the champion knew, times the
    squared temperature, which gives the gradients the size they have at temperature 1 (Hinton et al.). The paper
    writes a cross-entropy instead: it differs by the entropy of the champion's answers, which has no gradient.

    Parameters
    ----------
    weight : float
        Of the term.
    champion_logits : torch.Tensor
        [rows, known] float32, the champion's logits of all rows of the stage.
    row_weights : torch.Tensor
        [rows] float, each row's weight over the mean weight of the stage; 0 where the term does not apply.

    References
    ----------
    Li and Hoiem, "Learning without Forgetting", arXiv 1606.09282, section 3. Hinton et al., "Distilling the Knowledge
    in a Neural Network", arXiv 1503.02531, section 2.

    Examples
    --------
    >>> term = Distillation(0.5, torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.ones(2))
    >>> float(term.loss(torch.tensor([[4.0, 0.0, 9.0]]), torch.tensor([0])))
    0.0
    >>> float(term.loss(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([0]))) > 0
    True
    """

    weight: float
    champion_logits: torch.Tensor
    row_weights: torch.Tensor

    def loss(self, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The weighted term, a scalar to be added to the loss: its mean over the batch.

        Parameters
        ----------
        logits : torch.Tensor
            [batch, classes] float32, the candidate's; the first columns are the labels that the champion knew.
        index : torch.Tensor
            [batch] int64, which rows of the stage these are.
        """
        # Other rows are left out, not multiplied by 0: that would make NaN of what is not finite.
        applies = self.row_weights[index] > 0
        rows = index[applies]
        champion = self.champion_logits[rows].to(logits.device)
        candidate = logits[applies, : champion.shape[1]]
        divergences = nn.functional.kl_div(
            (candidate / TEMPERATURE).log_softmax(dim=1),
            (champion / TEMPERATURE).log_softmax(dim=1),
            reduction="none",
            log_target=True,
        ).sum(dim=1)
        weights = self.row_weights[rows].to(divergences)
        return self.weight * TEMPERATURE**2 * (divergences * weights).sum() / len(index)
