"""The learning rate over the steps: a linear warm-up, then constant, or down to 0 in a line or a half cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from dripstone.core.config import Step


def learning_rate_factor(step: int, steps: int, config: Step) -> float:
    """What the learning rate is multiplied by.

    Parameters
    ----------
    step : int
        The step that is about to be made, from 0.
    steps : int
        How many there will be; 0 is as good as 1.
    config : Step
        ``schedule`` and ``warmup``.

    Returns
    -------
    float
        Above 0 and at most 1 for each of the ``steps``, so that none of them is wasted; 0 after them, if it falls. The
        last step of the warm-up and the first one after it are made at 1.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", arXiv 1608.03983, equation 5. Goyal
    et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677, section 2.2.

    Examples
    --------
    >>> config = Step(schedule="linear", warmup=0.2)
    >>> [learning_rate_factor(step, 10, config) for step in range(11)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]
    """
    steps = max(steps, 1)
    rising = round(config.warmup * steps)
    if step < rising:
        return (step + 1) / rising
    passed = (step - rising) / (steps - rising) if step < steps else 1.0
    if config.schedule == "linear":
        return 1.0 - passed
    if config.schedule == "cosine":
        return (1.0 + math.cos(math.pi * passed)) / 2
    return 1.0


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set each group's learning rate to ``factor`` times the one it began with, kept as ``initial_lr``.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    >>> set_learning_rate([optimizer], 0.5)
    >>> set_learning_rate([optimizer], 0.25)
    >>> optimizer.param_groups[0]["lr"]
    0.125
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
