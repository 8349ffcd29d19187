"""Features beside the activation cache: the pass over new rows fills it, and a tuned fork starts from it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager

import torch

from dripstone.core import processes
from dripstone.core.events import Encoded
from dripstone.core.examples import Content
from dripstone.core.protocols import Model
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.features import in_batches, in_places, result_of
from dripstone.train.modes import evaluating
from dripstone.train.prefix import Batch

Beside = Callable[[Sequence[Content], Batch], AbstractContextManager[None]]
"""What the cache does while a batch runs: it records, or it replays."""


def encode_and_record(
    model: Model, inputs: Sequence[Content], cache: ActivationCache
) -> Generator[Encoded, None, torch.Tensor]:
    """`dripstone.train.features.encode`, and the cache keeps the activations on the way.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=4, hidden=[8, 8], random_features=16)
    >>> cache = ActivationCache(model, ["backbone.1.0.weight", "head.weight"])
    >>> for event in encode_and_record(model, [np.zeros(4, dtype="f4")] * 70, cache):
    ...     print(event)
    features of 64 of 70 rows
    features of 70 of 70 rows
    """
    return (yield from _pass(model, inputs, cache.recording))


def features_from(model: Model, inputs: Sequence[Content], cache: ActivationCache) -> torch.Tensor:
    """[rows, features] of a fork, from what the cache keeps; rows that it lacks are computed and kept.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> model, rows = mlp(inputs=4, hidden=[8, 8], random_features=16), [np.ones(4, dtype="f4")]
    >>> cache = ActivationCache(model, ["backbone.1.0.weight", "head.weight"])
    >>> features_from(model, rows, cache).shape
    torch.Size([1, 8])
    """
    cache.attach(model)
    return result_of(_pass(model, inputs, cache.replaying))


def _pass(model: Model, inputs: Sequence[Content], beside: Beside) -> Generator[Encoded, None, torch.Tensor]:
    """The features of all rows, each batch computed beside the cache.

    Of several processes each computes the rows that belong to it, and its cache keeps these.
    """
    own = processes.own(inputs)
    batches = in_batches(own)
    parts: list[torch.Tensor] = []
    done = 0
    with evaluating(model), torch.no_grad():
        for places in batches:
            rows = [own[i] for i in places.tolist()]
            batch = model.collate(rows)
            with beside(rows, batch):
                parts.append(model.features(batch).float().cpu())
            done += len(places)
            yield Encoded(min(done * processes.size(), len(inputs)), len(inputs))
    if not inputs:
        return torch.empty(0, 0)
    features = in_places(torch.cat(parts), torch.cat(batches)) if own else torch.empty(0, model.reads)
    return processes.join_owned(features, processes.owners(inputs))
