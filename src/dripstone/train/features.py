"""Features of rows, or of texts how likely they are: the one forward pass over new data that an update costs."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from typing import TypeVar

import numpy as np
import torch

from dripstone.core import processes
from dripstone.core.events import Encoded
from dripstone.core.examples import Content, text_length
from dripstone.core.protocols import Model
from dripstone.train.modes import evaluating

T = TypeVar("T")

BATCH = 64

_ROUNDS = 5


def encode(model: Model, inputs: Sequence[Content]) -> Generator[Encoded, None, torch.Tensor]:
    """Run the backbone in eval mode; yields progress and returns the features.

    Parameters
    ----------
    model : Model
        Its ``features`` are computed without gradients; each of its modules is left in the mode it was in.
    inputs : sequence of str, numpy.ndarray or Exchange
        Rows. Texts of like length share a batch, so that little is spent on padding.

    Yields
    ------
    Encoded
        After each batch.

    Returns
    -------
    torch.Tensor
        [rows, features] float32 in the order of ``inputs``, on the CPU; [0, 0] for no rows.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> for event in encode(mlp(inputs=4, hidden=[8]), [np.zeros(4, dtype="f4")] * 70):
    ...     print(event)
    features of 64 of 70 rows
    features of 70 of 70 rows
    """
    order = torch.cat([torch.empty(0, dtype=torch.int64), *in_batches(inputs)])
    mine = processes.share(order)
    parts = [torch.empty(0, model.reads)]
    done = 0
    for places in mine.split(BATCH) if len(mine) else ():
        parts.append(_features(model, [inputs[i] for i in places.tolist()]))
        done += len(places)
        yield Encoded(min(done * processes.size(), len(inputs)), len(inputs))
    return in_places(processes.join_shares(torch.cat(parts), len(order)), order)


def in_batches(inputs: Sequence[Content]) -> list[torch.Tensor]:
    """Places of the rows of each batch, int64: texts of like length together, so that little is spent on padding.

    Examples
    --------
    >>> in_batches(["long text", "a", "text"])
    [tensor([1, 2, 0])]
    """
    lengths = [0 if isinstance(row, np.ndarray) else text_length(row) for row in inputs]
    order = torch.tensor(lengths, dtype=torch.int64).argsort(stable=True)
    return list(order.split(BATCH)) if len(order) else []


def in_places(features: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Features of rows that were computed in an order, [rows, features] in the rows' own; [0, 0] for no rows."""
    if not len(order):
        return torch.empty(0, 0)
    placed = torch.empty_like(features)
    placed[order] = features
    return placed


def features_of(model: Model, inputs: Sequence[Content]) -> torch.Tensor:
    """The features alone, [rows, features], without progress.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> features_of(mlp(inputs=4, hidden=[8]), [np.zeros(4, dtype="f4")] * 70).shape
    torch.Size([70, 8])
    """
    return result_of(encode(model, inputs))


def result_of(progress: Generator[object, None, T]) -> T:
    """What a generator returns in the end, without its progress."""
    while True:
        try:
            next(progress)
        except StopIteration as end:
            return end.value


def outputs_of(model: Model, features: torch.Tensor) -> torch.Tensor:
    """The outputs of rows whose features are known, [rows, outputs] on the CPU; no gradients."""
    with torch.no_grad():
        return model.outputs(features).cpu()


def latency_ms(models: Sequence[Model], inputs: Sequence[Content]) -> tuple[float, ...]:
    """Milliseconds that each model takes to answer one row, the best of five rounds in turn, over these rows together.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> slow, fast = latency_ms([mlp(inputs=4, hidden=[8])] * 2, [np.zeros(4, dtype="f4")] * 8)
    >>> 0 < fast < 1000
    True
    """
    best = [math.inf] * len(models)
    for _ in range(_ROUNDS):
        for place, model in enumerate(models):
            began = time.perf_counter()
            outputs_of(model, _features(model, inputs))
            best[place] = min(best[place], time.perf_counter() - began)
    return tuple(1000 * seconds / len(inputs) for seconds in best)


def _features(model: Model, inputs: Sequence[Content]) -> torch.Tensor:
    with evaluating(model), torch.no_grad():
        return model.read(inputs).float().cpu()
