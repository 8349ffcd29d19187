"""Augmentation: rows that the loop sees otherwise in every epoch, so that it does not learn them by heart.

References
----------
Wei and Zou, "EDA: Easy Data Augmentation Techniques", arXiv 1901.11196 (words that are dropped). Devlin et al.,
"BERT", arXiv 1810.04805, section 3.1 (masks). Shorten and Khoshgoftaar, "A survey on Image Data Augmentation for Deep
Learning", Journal of Big Data 2019 (pictures).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dripstone.core.errors import UsageError
from dripstone.core.examples import Inputs
from dripstone.core.protocols import Preprocess

DROPPED = 0.1
"""Share of the words that are dropped."""

MASKED = 0.1
"""Share of the words that are masked."""

SHIFTED = 0.1
"""Share of a picture's side by which it is shifted at most."""

CROPPED = 0.8
"""Share of a picture's side that a crop keeps at least; it is blown up again."""

NOISY = 0.05
"""Standard deviation of what is added to a picture, in units of its own one."""

JITTER = 0.05
"""The same of a table's row, in units of each column's deviation in the batch."""

KINDS = {"text": ("drop", "mask"), "picture": ("shift", "flip", "crop", "noise"), "table": ("jitter",)}
"""What there is for each kind of input. ``flip`` alone has to be asked for: a letter that is flipped is another one."""


@dataclass(frozen=True, slots=True)
class Augment:
    """The policy ``augment``: how rows are changed; nothing named stands for what suits the model's input.

    Examples
    --------
    >>> Augment.parse([]), str(Augment.parse(["shift", "flip"])), Augment.parse(["paint"])
    (Augment(names=()), 'augment:shift:flip', None)
    """

    FORMS: ClassVar[tuple[str, ...]] = ("augment", *(f"augment:{name}" for names in KINDS.values() for name in names))

    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> Augment | None:
        """The policy from the words after its name; None if they mean nothing."""
        known = {name for names in KINDS.values() for name in names}
        return cls(tuple(words)) if set(words) <= known and len(set(words)) == len(words) else None

    def __str__(self) -> str:
        return ":".join(["augment", *self.names])

    def fit(self, preprocess: Preprocess) -> Change:
        """What changes rows of the model that has this preprocessing.

        Raises
        ------
        UsageError
            If a change does not suit it.
        """
        picture = preprocess.picture
        kind = "picture" if picture else "text" if preprocess.kind == "text" else "table"
        suitable = KINDS[kind]
        if odd := [name for name in self.names if name not in suitable]:
            what = {"text": "texts", "picture": "pictures", "table": "tables"}[kind]
            raise UsageError(
                f"augment:{odd[0]} does not suit this model, which takes {what}",
                remedy=f"use {', '.join(f'augment:{name}' for name in suitable)}",
                kind="usage.augment",
            )
        if "mask" in self.names and not preprocess.mask_token:
            raise UsageError(
                "augment:mask does not suit this model, whose tokenizer has no token for a hidden word",
                remedy="use augment:drop",
                kind="usage.augment",
            )
        names = self.names or tuple(name for name in suitable if name != "flip")
        return Change(names, picture, preprocess.mask_token)


@dataclass(frozen=True, slots=True)
class Change:
    """Changes of rows of one kind; ``picture`` is (channels, height, width) where they are pictures."""

    names: tuple[str, ...]
    picture: tuple[int, ...] | None = None
    mask_token: str | None = None

    def __call__(self, inputs: Sequence[Inputs], draw: np.random.Generator) -> list[Inputs]:
        """The rows of a batch, changed; the given ones are left as they are.

        Examples
        --------
        >>> draw = np.random.default_rng(1)
        >>> Change(("mask",), mask_token="[MASK]")(["please tell me when the next train to Rome leaves"], draw)
        ['please tell me when the next train to Rome [MASK]']
        """
        if inputs and isinstance(inputs[0], str):
            return [self._change_text(row, draw) for row in inputs]  # type: ignore[arg-type]
        arrays: list[np.ndarray] = list(inputs)  # type: ignore[arg-type]
        if self.picture is None:
            spread = np.std(np.stack(arrays), axis=0, dtype=np.float64)
            return [(row + JITTER * spread * draw.standard_normal(row.shape)).astype(np.float32) for row in arrays]
        return [self._change_picture(row, draw) for row in arrays]

    def _change_text(self, text: str, draw: np.random.Generator) -> str:
        words = text.split()
        if len(words) < 2:
            return text
        chance = draw.random(len(words))
        dropped = DROPPED if "drop" in self.names else 0.0
        masked = MASKED if "mask" in self.names and self.mask_token else 0.0
        changed = [
            self.mask_token if one < dropped + masked else word
            for word, one in zip(words, chance, strict=True)
            if one >= dropped
        ]
        return " ".join(word for word in changed if word) or text

    def _change_picture(self, row: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        assert self.picture is not None
        changed = row.reshape(self.picture)
        for name in self.names:
            changed = PICTURES[name](changed, draw)
        return np.ascontiguousarray(changed, dtype=np.float32).reshape(row.shape)


def _shift(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Moved by whole pixels; what comes in is what was at the edge."""
    _, height, width = picture.shape
    rows = np.arange(height) + _offset(height, draw)
    columns = np.arange(width) + _offset(width, draw)
    return picture[:, rows.clip(0, height - 1)][:, :, columns.clip(0, width - 1)]


def _offset(side: int, draw: np.random.Generator) -> int:
    most = max(1, round(SHIFTED * side))
    return int(draw.integers(-most, most + 1))


def _flip(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return picture[:, :, ::-1] if draw.random() < 0.5 else picture


def _crop(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A part of the picture, blown up to all of it; pixels are repeated."""
    kept = draw.uniform(CROPPED, 1.0)
    places = []
    for side in picture.shape[1:]:
        start = draw.uniform(0.0, side * (1 - kept))
        places.append((start + kept * (np.arange(side) + 0.5)).astype(np.int64).clip(0, side - 1))
    return picture[:, places[0]][:, :, places[1]]


def _noise(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return picture + NOISY * picture.std(dtype=np.float64) * draw.standard_normal(picture.shape)


PICTURES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "shift": _shift,
    "flip": _flip,
    "crop": _crop,
    "noise": _noise,
}
