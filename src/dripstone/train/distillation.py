"""Distillation (LwF): new rows keep the champion's answers among the labels that it knew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dripstone.train.held_logits import HeldLogits, HeldTokens

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
    held : HeldLogits or HeldTokens
        The champion's logits, and the rows that the term applies to.

    References
    ----------
    Li and Hoiem, "Learning without Forgetting", arXiv 1606.09282, section 3. Hinton et al., "Distilling the Knowledge
    in a Neural Network", arXiv 1503.02531, section 2.

    Examples
    --------
    >>> term = Distillation(0.5, HeldLogits(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.ones(2)))
    >>> float(term.loss(torch.tensor([[4.0, 0.0, 9.0]]), torch.tensor([0])))
    0.0
    >>> float(term.loss(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([0]))) > 0
    True
    """

    weight: float
    held: HeldLogits | HeldTokens

    def loss(self, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The weighted term, a scalar to be added to the loss: its mean over the batch; as for `HeldLogits.beside`."""
        candidate, champion, weights = self.held.beside(logits, index)
        divergences = nn.functional.kl_div(
            (candidate / TEMPERATURE).log_softmax(dim=1),
            (champion / TEMPERATURE).log_softmax(dim=1),
            reduction="none",
            log_target=True,
        ).sum(dim=1)
        return self.weight * TEMPERATURE**2 * (divergences * weights).sum() / len(index)
