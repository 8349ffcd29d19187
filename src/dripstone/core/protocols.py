"""What the stages need of one another, so that none has to import another; ``update`` composes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import nn

from dripstone.core.examples import Content, Inputs, Label
from dripstone.core.marked import Marked
from dripstone.core.records import Spec


class Head(Protocol):
    """The growing output layer: ``scores = scale * linear(expand(features))``."""

    expansion: Any  # a module; its buffer "width", if it has one, is the unit of the features
    features: int  # columns that come in
    weight: nn.Parameter  # [classes, expanded] float32
    bias: nn.Parameter  # [classes] float32
    scale: torch.Tensor  # [] float32, turns scores into logits, or into numbers
    penalty: torch.Tensor  # [] float32, of the closed form

    def expand(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, expanded]."""
        ...

    def fit(self, features: torch.Tensor) -> None:
        """Take what the expansion learns from the first stage's [rows, features]; later calls do nothing."""
        ...

    def refit(self, features: torch.Tensor) -> None:
        """The same for features of another backbone, whatever was learned before."""
        ...

    def grow(self, classes: int) -> None:
        """Append zero rows until there are ``classes``; the old rows keep their bits."""
        ...


class Preprocess(Protocol):
    """What belongs to a model and turns rows into batches."""

    kind: str  # "text" or "array"
    accepted: Sequence[tuple[int, ...]]  # shapes that an array may have; none: all rows have that of the first
    default_column: str  # the column that inputs stand in unless the user names another
    picture: tuple[int, ...] | None  # (channels, height, width) of a row; None where it is no picture
    mask_token: str | None  # what stands for a hidden word in a text; None where there is nothing

    def fit(self, inputs: Sequence[Inputs]) -> None:
        """Learn from the first stage's rows; later calls do nothing."""
        ...

    def collate(self, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Rows to a batch."""
        ...


class Task(Protocol):
    """What an example's target means, and what the columns of the output layer say."""

    kind: ClassVar[str]  # as stores and dripstone.toml name it
    metrics: ClassVar[tuple[str, ...]]  # that the gate can judge by, the usual one first
    numbers: ClassVar[bool]  # whether targets are numbers, so that rows have no labels
    texts: ClassVar[bool]  # whether rows are texts that the model learns to write, so that they have no labels either
    replies: ClassVar[bool]  # whether they are all replies to what stands in the rows

    @property
    def labels(self) -> tuple[Label, ...]:
        """What the outputs are called; empty as long as nothing was learned."""
        ...

    def of(self, model: Model) -> Self:
        """The task with what a version's model says of it."""
        ...

    @staticmethod
    def settings(model: Any) -> Mapping[str, Any]:
        """What a new project with this model has other than by default."""
        ...

    @staticmethod
    def known(model: Any) -> tuple[Label, ...]:
        """What a new model has learned before its first update."""
        ...

    def beside(self, champion: Task) -> Self:
        """The task as it is judged beside the champion's."""
        ...

    def grow(self, targets: Iterable[Any]) -> Self:
        """The task once rows with these targets are learned."""
        ...

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """[rows]: int64 class indices, -1 for none; or float64 numbers, NaN for none."""
        ...

    def classes(self, encoded: np.ndarray) -> np.ndarray:
        """[rows] int64 class indices of encoded targets, -1 for one that this version does not know."""
        ...

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of [rows, outputs] and encoded targets, the loss of each row."""
        ...

    def mark(self, outputs: torch.Tensor, targets: np.ndarray, classes: int | None = None) -> Marked:
        """Answers held against encoded targets, among the first ``classes`` outputs where given."""
        ...

    def marks(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``right`` and ``probability`` again, of what was kept."""
        ...

    def predict(self, model: Any, inputs: Sequence[Inputs]) -> list[dict[str, Any]]:
        """What a user reads of each row: ``prediction`` and ``scores``."""
        ...

    def answers(self, outputs: torch.Tensor) -> list[Any]:
        """By what two versions are told apart on a row: a label, a number or a loss; None where there is none."""
        ...

    def same(self, one: Any, other: Any) -> bool:
        """Whether two answers are as good as one."""
        ...

    def better(self, one: Any, other: Any, target: Any) -> bool:
        """Whether one answer is nearer to the target than the other."""
        ...


class Prune(Protocol):
    """Which rows an epoch learns."""

    def choose(
        self, rows: torch.Tensor, losses: torch.Tensor, epoch: int, epochs: int, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of [rows] indices, by the latest losses of all rows, those that are learned, and the factor of each."""
        ...


Change = Callable[[Sequence[Inputs], np.random.Generator], list[Inputs]]
"""Augmentation: what the loop sees of a batch's rows this time."""


class TextModel(Protocol):
    """What an update asks of a language model besides."""

    def write(self, count: int, *, seed: int) -> list[str]:
        """So many texts, drawn as the model takes them to be likely."""
        ...

    def windows(self, groups: Sequence[Sequence[Content]]) -> list[tuple[list[Any], torch.Tensor]]:
        """Groups of texts packed into windows, as ``collate`` takes them, and the token that follows each of theirs."""
        ...


class Model(Protocol):
    """A module in three parts: preprocessing, a backbone that yields features, a head that yields scores.

    What is kept of a row, to judge it by, is what ``read`` makes of it: of rows with labels or numbers their features,
    of texts how likely they are.
    """

    spec: Spec
    assets: dict[str, bytes]
    preprocess: Any  # a Preprocess that is also a module
    backbone: nn.Module
    head: Any  # a Head that is also a module, or the output layer of a language model
    growing: frozenset[str]  # tensors whose first dimension a version sets

    def fit(self, inputs: Sequence[Any]) -> None:
        """Learn the preprocessing (scaling, tokens) from the first stage's rows; later calls do nothing."""
        ...

    def collate(self, inputs: Sequence[Any]) -> dict[str, torch.Tensor] | torch.Tensor:
        """Preprocess rows, or windows of texts, into what ``backbone`` takes."""
        ...

    @property
    def reads(self) -> int:
        """How many numbers are kept of a row."""
        ...

    def grow(self, labels: int) -> None:
        """Make room for so many labels."""
        ...

    def features(self, batch: dict[str, torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """[rows, features]."""
        ...

    def read(self, contents: Sequence[Content]) -> torch.Tensor:
        """[rows, reads]: what is kept of rows."""
        ...

    def outputs(self, read: torch.Tensor) -> torch.Tensor:
        """[rows, outputs]: what the task marks, of what was kept."""
        ...

    def forward(self, batch: dict[str, torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """[rows, classes] logits."""
        ...
