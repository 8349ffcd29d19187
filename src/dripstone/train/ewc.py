"""Elastic weight consolidation (EWC): parameters that matter to replayed rows are held where they started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dripstone.core.devices import device_of
from dripstone.core.examples import Inputs
from dripstone.core.losses import cross_entropy
from dripstone.core.protocols import Model
from dripstone.train.l2 import held_part
from dripstone.train.modes import evaluating
from dripstone.train.rows import Losses

FISHER_ROWS = 256
"""Rows that the Fisher information is estimated on, at most: each costs a forward and a backward pass of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class ElasticWeightConsolidation:
    """A term of the loss: half the squared distance of the parameters from where they started, each by its importance.

    Parameters
    ----------
    weight : float
        Of the term, the paper's lambda.
    parameters : sequence of torch.nn.Parameter
        The live parameters, at least one.
    starts : sequence of torch.Tensor
        Copies of their values before training. One with fewer rows than its parameter, which has grown since, holds
        those rows alone.
    fisher : sequence of torch.Tensor
        The importances, of the starts' shapes.

    References
    ----------
    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", arXiv 1612.00796, eq. 3.

    Examples
    --------
    >>> parameter = nn.Parameter(torch.tensor([3.0, 4.0, 9.0]))
    >>> fisher = torch.tensor([0.0, 0.5])
    >>> ElasticWeightConsolidation(2.0, [parameter], [torch.zeros(2)], [fisher]).loss().item()
    8.0
    """

    weight: float
    parameters: Sequence[nn.Parameter]
    starts: Sequence[torch.Tensor]
    fisher: Sequence[torch.Tensor]

    def loss(self) -> torch.Tensor:
        """The weighted term, a scalar to be added to the loss."""
        triples = zip(self.parameters, self.starts, self.fisher, strict=True)
        pulls = [
            (fisher * nn.functional.mse_loss(held_part(live, start), start, reduction="none")).sum()
            for live, start, fisher in triples
        ]
        return self.weight / 2 * torch.stack(pulls).sum()


def fisher_diagonal(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    inputs: Sequence[Inputs],
    targets: torch.Tensor,
    weights: torch.Tensor,
    known: int,
    features: torch.Tensor | None = None,
    losses: Losses = cross_entropy,
) -> list[torch.Tensor]:
    """The diagonal of the empirical Fisher information: squared gradients of each row's loss, averaged over rows.

    Exact for the rows it looks at: the square of a batch's gradient is not the mean of its rows' squares, so each row
    has a backward pass of its own. "Empirical": the rows' labels are taken, not ones drawn from the model's answers.

    Parameters
    ----------
    model : torch.nn.Module
        A ``Model`` with the champion's values. It runs in eval mode; flags, modes, gradients and buffers stay as they
        are.
    parameters : sequence of torch.nn.Parameter
        Parameters of the model. One that the rows do not reach gets zeros.
    inputs : sequence of str or numpy.ndarray
        Rows; of more than 256, evenly spaced ones are looked at.
    targets : torch.Tensor
        [rows] int64, below ``known``.
    weights : torch.Tensor
        [rows] float, above 0; only their ratios count.
    known : int
        Labels that the champion knew; an output layer that has grown may have more.
    features : torch.Tensor or None
        [rows, features], where known; they spare the backbone's pass, and ``inputs`` are not read.
    losses : callable
        Of each row, of [rows, outputs] and [rows] targets.

    Returns
    -------
    list of torch.Tensor
        Of the parameters' shapes; zeros for no rows.

    Examples
    --------
    With two labels and equal scores, the gradients of the two biases are plus and minus a half.

    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> rows = [np.array([1.0, 2.0], dtype="f4")]
    >>> fisher_diagonal(model, [model.head.bias], rows, torch.tensor([0]), torch.ones(1), known=2)
    [tensor([0.2500, 0.2500])]
    """
    wrapped: Model = model  # type: ignore[assignment]
    fisher = [torch.zeros_like(parameter) for parameter in parameters]
    looked_at = min(len(targets), FISHER_ROWS)
    chosen = torch.arange(looked_at) * len(targets) // max(looked_at, 1)
    shares = weights[chosen].double() / weights[chosen].double().sum()
    with _evaluating(model, parameters), torch.enable_grad():
        for row, share in zip(chosen.tolist(), shares.tolist(), strict=True):
            place = slice(row, row + 1)
            known_features = None if features is None else features[place].to(device_of(model))
            logits = model(wrapped.collate(inputs[place])) if known_features is None else wrapped.head(known_features)
            loss = losses(logits[..., :known], targets[place]).sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for total, gradient in zip(fisher, gradients, strict=True):
                if gradient is not None:
                    total.addcmul_(gradient, gradient, value=share)
    return fisher


@contextmanager
def _evaluating(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Eval mode, and gradients for these parameters alone; then everything is as it was."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    ids = {id(parameter) for parameter in parameters}
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in ids)
        with evaluating(model):
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
