"""Features of texts under the frozen encoder, each computed once: for test rows and peers alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dripstone.core.protocols import Model
from dripstone.models.head import Head
from dripstone.train.features import features_of


class Features:
    """A cache by text."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._known: dict[str, torch.Tensor] = {}

    def branch(self) -> Features:
        """The same cache; what is added to one is not in the other.

        A text's features depend in their last bits on the texts beside it, so lives that shared a cache would depend on
        their order.
        """
        branch = Features(self._model)
        branch._known = dict(self._known)
        return branch

    def of(self, texts: Sequence[str]) -> torch.Tensor:
        """[rows, features] float32."""
        missing = sorted({text for text in texts if text not in self._known})
        self._known.update(zip(missing, features_of(self._model, missing), strict=True))
        return torch.stack([self._known[text] for text in texts])


class Expanded:
    """Rows as a head expands them, kept as long as its expansion stays what it was."""

    def __init__(self, features: torch.Tensor) -> None:
        self._features = features
        self._width = -1.0
        self._phi = torch.empty(0)

    def scores(self, head: Head) -> torch.Tensor:
        """What the head makes of the rows, [rows, classes]."""
        width = float(head.expansion.width)
        with torch.no_grad():
            if width != self._width:
                self._phi, self._width = head.expand(self._features.to(head.weight.device)), width
            return (head.scale * torch.nn.functional.linear(self._phi, head.weight, head.bias)).cpu()
