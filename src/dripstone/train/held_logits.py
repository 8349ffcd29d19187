"""The champion's logits that a term against forgetting holds the candidate's to."""

from __future__ import annotations

from dataclasses import dataclass

import torch


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
