"""The champion's logits that a term against forgetting holds the candidate's to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dripstone.core.examples import Content
from dripstone.core.losses import IGNORED
from dripstone.core.protocols import Model


@dataclass(frozen=True, slots=True, eq=False)
class HeldLogits:
    """The champion's logits of all rows of a stage, and to which rows a term applies.

    Parameters
    ----------
    logits : torch.Tensor
        [rows, known] float32, of the labels that the champion knew.
    row_weights : torch.Tensor
        [rows] float, each row's weight over the mean weight of the stage; 0 where the term does not apply.

    Examples
    --------
    >>> held = HeldLogits(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    >>> [part.tolist() for part in held.beside(torch.tensor([[5.0, 6.0, 9.0], [7.0, 8.0, 9.0]]), torch.tensor([0, 1]))]
    [[[7.0, 8.0]], [[3.0, 4.0]], [1.0]]
    """

    logits: torch.Tensor
    row_weights: torch.Tensor

    def beside(self, candidate: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both versions' logits of the rows of a batch that the term applies to, and these rows' weights.

        Parameters
        ----------
        candidate : torch.Tensor
            [batch, classes] float32; the first columns are the labels that the champion knew.
        index : torch.Tensor
            [batch] int64, which rows of the stage these are.

        Returns
        -------
        tuple of torch.Tensor
            [applies, known], [applies, known] and [applies], on the candidate's device and in its dtype.
        """
        # Other rows are left out, not multiplied by 0: that would make NaN of what is not finite.
        applies = self.row_weights[index] > 0
        rows = index[applies]
        mine = candidate[applies, : self.logits.shape[1]]
        return mine, self.logits[rows].to(mine), self.row_weights[rows].to(mine)


@dataclass(frozen=True, slots=True, eq=False)
class HeldTokens:
    """The same of windows of texts, a row a token that is asked for.

    The logits of every token of a stage would fill the memory: the champion is asked again for each batch, which costs
    a forward pass.

    Parameters
    ----------
    champion : Model
        In evaluation mode.
    inputs : sequence
        The windows of the stage.
    targets : torch.Tensor
        [windows, tokens] int64, `IGNORED` where nothing is asked for.
    row_weights : torch.Tensor
        [windows] float, as for `HeldLogits`.
    """

    champion: Model
    inputs: Sequence[Content]
    targets: torch.Tensor
    row_weights: torch.Tensor

    def beside(self, candidate: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both versions' logits of the tokens that the term applies to, and their weights; see `HeldLogits.beside`.

        ``candidate`` is [batch, tokens, vocabulary]; what comes back is [applies, vocabulary] twice, and [applies].
        Tokens of a window share its weight.
        """
        applies = self.row_weights[index] > 0
        rows = index[applies]
        asked = (self.targets[rows] != IGNORED).to(candidate.device)
        mine = candidate[applies.to(candidate.device)][asked]
        if not len(mine):
            return mine, mine, mine.new_empty(0)
        with torch.no_grad():
            batch = self.champion.collate([self.inputs[row] for row in rows.tolist()])
            theirs = self.champion.forward(batch)[asked].to(mine)
        shares = self.row_weights[rows].to(mine) / asked.sum(dim=1)
        return mine, theirs, shares[:, None].expand_as(asked)[asked]
