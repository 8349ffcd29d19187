"""A model is asked: its outputs for rows that want an answer, checked before anyone reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Inputs


def asked(model: Any, inputs: Sequence[Inputs], outputs: int) -> torch.Tensor:
    """[rows, outputs], without gradients.

    Raises
    ------
    ModelError
        If the model gives another number of outputs.
    DataError
        If an output is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=2)
    >>> model.grow(3)
    >>> asked(model, [np.zeros(2)], 3).shape
    torch.Size([1, 3])
    """
    with torch.inference_mode():
        found = model(model.collate(inputs))
    if tuple(found.shape) != (len(inputs), outputs):
        raise ModelError(
            f"the model answered {len(inputs)} rows of {outputs} outputs with logits of shape {tuple(found.shape)}",
            remedy="make its forward return [rows, classes]",
            kind="model.shape",
        )
    if torch.isnan(found).any():
        raise DataError(
            "the model's answer to these inputs is not a number",
            remedy="send inputs of the size that it was trained on",
            kind="data.overflow",
        )
    return found
