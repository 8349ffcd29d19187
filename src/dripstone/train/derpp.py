"""Dark experience replay (DER++): replayed rows keep the champion's logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dripstone.train.held_logits import HeldLogits, HeldTokens


@dataclass(frozen=True, slots=True, eq=False)
class DarkExperienceReplay:
    """A term of the loss: on replayed rows, how far the candidate's logits have gone from the champion's.

    The mean squared difference over the labels that the champion knew. The cross-entropy of replayed rows, the other
    half of DER++, is in the loop anyway.

    The paper stores the logits that the network gave, in the middle of its training, when a row entered the memory.
    Here they are the champion's: of a whole model that the gate has let live, with a logit for every label that it
    knew, and computed anew for each update, so that nothing is stored beside the row.

    Parameters
    ----------
    weight : float
        Of the term, the paper's alpha.
    held : HeldLogits or HeldTokens
        The champion's logits, and the rows that the term applies to.

    References
    ----------
    Buzzega et al., "Dark Experience for General Continual Learning: a Strong, Simple Baseline", arXiv 2004.07211,
    eq. 6. As in the authors' code, the squared difference is averaged over the labels.

    Examples
    --------
    >>> term = DarkExperienceReplay(1.0, HeldLogits(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.ones(2)))
    >>> float(term.loss(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([0])))
    2.5
    """

    weight: float
    held: HeldLogits | HeldTokens

    def loss(self, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """The weighted term, a scalar to be added to the loss: its mean over the batch; as for `HeldLogits.beside`."""
        candidate, champion, weights = self.held.beside(logits, index)
        squares = (candidate - champion).square().mean(dim=1)
        return self.weight * (squares * weights).sum() / len(index)
