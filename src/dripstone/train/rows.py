"""The rows of a stage, as the loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dripstone.core.examples import Inputs
from dripstone.core.losses import cross_entropy
from dripstone.core.protocols import Model

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of [rows, outputs] and [rows] targets, the loss of each row."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """New and replayed rows, and what the champion made of them.

    Parameters
    ----------
    inputs : sequence of str or numpy.ndarray
        Raw rows; not read where ``features`` are given.
    targets : torch.Tensor
        [rows] int64 class indices, or float64 numbers; of windows of texts [rows, tokens] int64.
    weights : torch.Tensor
        [rows] float. A row of weight 0 is as good as absent.
    features : torch.Tensor or None
        [rows, features]: what the backbone makes of the rows where it does not move, which spares its forward pass.
    replayed : torch.Tensor or None
        [rows] bool, whether a row comes from the memory; None where no row does.
    known : int
        Labels that the champion knew: the first ``known`` of the candidate's.
    champion_logits : torch.Tensor or None
        [rows, known] float32; only distillation and dark experience replay need them.
    losses : callable
        The loss of each row of a batch, of [rows, outputs] and [rows] targets.
    champion : Model or None
        Where rows are windows of texts, who is asked for its logits as these are needed.
    """

    inputs: Sequence[Inputs]
    targets: torch.Tensor
    weights: torch.Tensor
    features: torch.Tensor | None = None
    replayed: torch.Tensor | None = None
    known: int = 0
    champion_logits: torch.Tensor | None = None
    losses: Losses = cross_entropy
    champion: Model | None = None

    @property
    def old(self) -> torch.Tensor:
        """[rows] bool: which rows come from the memory."""
        return torch.zeros(len(self.targets), dtype=torch.bool) if self.replayed is None else self.replayed

    def relative_weights(self) -> torch.Tensor:
        """[rows] float64: weights over the mean of those that count.

        Over the mean of all rows, not of a batch: else a batch of light rows would pull like one of heavy rows.
        """
        weights = self.weights.double()
        counting = weights[weights > 0]
        return weights / counting.mean() if len(counting) else weights
