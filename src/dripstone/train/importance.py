"""What each number of a model is worth to the rows that are to be learned: its gradient, or its Fisher information."""

from __future__ import annotations

import torch
from torch import nn

from dripstone.core import processes
from dripstone.core.protocols import Model
from dripstone.core.spacing import spaced
from dripstone.train.ewc import FISHER_ROWS, fisher_diagonal
from dripstone.train.modes import evaluating
from dripstone.train.rows import Rows

BATCH = 32
"""Rows of one backward pass."""


def importance(model: nn.Module, rows: Rows, by: str) -> dict[str, torch.Tensor]:
    """Scores of every parameter that may move, from at most 256 rows, evenly spaced.

    Parameters
    ----------
    model : torch.nn.Module
        A ``Model`` that nobody else holds; it runs in eval mode, and is left without gradients.
    rows : Rows
        What is to be learned. Rows of weight 0 do not count.
    by : str
        ``gradient``, of the rows' mean loss; or ``fisher``, the mean of the squares of each row's gradient.

    Returns
    -------
    dict of str to torch.Tensor
        Of the parameters' shapes.

    Examples
    --------
    With two labels and equal scores, a row of the first pulls its bias up and the other one down.

    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> rows = Rows([np.array([1.0, 2.0], dtype="f4")], torch.tensor([0]), torch.ones(1))
    >>> importance(model, rows, "gradient")["head.bias"], importance(model, rows, "fisher")["head.bias"]
    (tensor([-0.5000,  0.5000]), tensor([0.2500, 0.2500]))
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    counting = torch.nonzero(rows.weights > 0).flatten()
    chosen = counting[torch.from_numpy(spaced(len(counting), FISHER_ROWS))]
    mine = chosen[processes.rank() :: processes.size()]
    scores = _fisher(model, named, rows, mine) if by == "fisher" else _gradients(model, named, rows, mine)
    for name in named:
        scores[name] /= max(len(chosen), 1)
        processes.add_up(scores[name])
    # What all choose by has to be the same to the bit.
    processes.copy_first(list(scores.values()))
    return scores


def _gradients(
    model: nn.Module, named: dict[str, nn.Parameter], rows: Rows, chosen: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Sums over some rows."""
    weights = rows.relative_weights()
    with evaluating(model), torch.enable_grad():
        for index in chosen.split(BATCH):
            outputs = _outputs(model, rows, index)
            losses = rows.losses(outputs, rows.targets[index])
            (losses * weights[index].to(losses)).sum().backward()
    found = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in named.items()}
    for parameter in named.values():
        parameter.grad = None
    return found


def _outputs(model: nn.Module, rows: Rows, index: torch.Tensor) -> torch.Tensor:
    wrapped: Model = model  # type: ignore[assignment]
    return wrapped.forward(wrapped.collate([rows.inputs[place] for place in index.tolist()]))


def _fisher(
    model: nn.Module, named: dict[str, nn.Parameter], rows: Rows, chosen: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Sums over some rows."""
    wrapped: Model = model  # type: ignore[assignment]
    diagonal = fisher_diagonal(
        model,
        list(named.values()),
        [rows.inputs[place] for place in chosen.tolist()],
        rows.targets[chosen],
        rows.weights[chosen],
        len(wrapped.head.weight),
        losses=rows.losses,
    )
    counted = float(rows.relative_weights()[chosen].sum())
    return {name: one * counted for name, one in zip(named, diagonal, strict=True)}
