"""Language modelling: an example is a text that the model learns to write, or a prompt and the reply to it.

A text is judged by the probability of its tokens: their geometric mean, whose logarithm is the mean loss, so that long
texts count like short ones. Of a row with a reply only the reply is asked for, and it is right if the model would write
just that. See ``docs/design/020-language-models.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from dripstone.core.examples import Inputs, Label, Reply
from dripstone.core.losses import cross_entropy
from dripstone.core.marked import Marked
from dripstone.core.protocols import Model, Task

TEXT, REPLY = "text", "reply"
"""What a version has learned to write, in the place where a classifier has its labels."""

ALIKE = 0.02
"""Relative difference of two perplexities up to which they count as one."""


@dataclass(frozen=True, slots=True)
class CausalLM:
    """``labels`` say what was learned: texts, replies to prompts, or both; empty before the first row.

    Examples
    --------
    >>> task = CausalLM().grow([None, Reply("yes")])
    >>> task.labels, task.encode([None, Reply("no")])
    (('text', 'reply'), array([0, 0]))
    """

    labels: tuple[Label, ...] = ()

    kind: ClassVar[str] = "causal_lm"
    metrics: ClassVar[tuple[str, ...]] = ("token_loss",)
    numbers: ClassVar[bool] = False
    texts: ClassVar[bool] = True
    replies: ClassVar[bool] = False

    def of(self, model: Model) -> CausalLM:
        """The task itself: nothing of it stands in the model."""
        return self

    @staticmethod
    def settings(model: Any) -> Mapping[str, Any]:
        """What a new project has other than by default."""
        return {
            "gate.margin": 0.02,  # of the perplexity
            "gate.trusted": 1000,  # all of them are read at every update
            "train.learning_rate": 5e-5 if model.taught else 3e-3,
            "train.batch_size": 8,  # windows, of several texts each
            "train.stop.epochs": 1,
            "train.step.schedule": "cosine",
            "train.step.warmup": 0.1,
            "train.step.clip": 1.0,
        }

    @staticmethod
    def known(model: Any) -> tuple[Label, ...]:
        """What a new model has learned already: a pretrained one writes texts."""
        return (TEXT,) if model.taught else ()

    def beside(self, champion: Task) -> CausalLM:
        """The task itself: a probability needs no unit."""
        return self

    def grow(self, targets: Iterable[Any]) -> CausalLM:
        """The task once rows with these targets are learned; None is the target of a text."""
        found = {REPLY if isinstance(target, Reply) else TEXT for target in targets}
        return replace(self, labels=self.labels + tuple(k for k in (TEXT, REPLY) if k in found - set(self.labels)))

    def encode(self, targets: Sequence[Any]) -> np.ndarray:
        """[rows] int64: 0 for every row once anything was learned, since any text can be asked for then; else -1."""
        return np.full(len(targets), 0 if self.labels else -1, dtype=np.int64)

    def classes(self, encoded: np.ndarray) -> np.ndarray:
        """The same."""
        return encoded

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the tokens of each window, [windows]."""
        return cross_entropy(outputs, targets)

    def mark(self, outputs: torch.Tensor, targets: np.ndarray, classes: int | None = None) -> Marked:
        """How likely each text is.

        Parameters
        ----------
        outputs : torch.Tensor
            [rows, 3], as `dripstone.models.language.LanguageModel.read` gives them.
        targets : numpy.ndarray
            [rows] of ``encode``.
        classes : int, optional
            0 where nothing may be answered.

        Examples
        --------
        >>> marked = CausalLM(("text",)).mark(torch.tensor([[2.0, 0.5, 1.0]]), np.array([0]))
        >>> marked.right, marked.probability.round(2)
        (array([ True]), array([0.61], dtype=float32))
        """
        count, loss, exact = outputs.double().cpu().numpy().T if len(outputs) else np.empty((3, 0))
        answered = (count > 0) & np.isfinite(loss) & (targets >= 0)
        if classes == 0:
            answered = np.zeros_like(answered)
        probability = np.where(answered, np.exp(-np.where(answered, loss, 0.0)), 0.0).astype(np.float32)
        right = answered & (exact > 0)
        kept = np.stack([right, probability], axis=1).astype(np.float32)
        return Marked(np.where(answered, 0, -1), right, probability, probability, kept)

    def marks(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each row is right, and how likely its tokens are, of what was kept, [rows, 2]."""
        return kept[:, 0] > 0, kept[:, 1]

    def predict(self, model: Any, inputs: Sequence[Inputs]) -> list[dict[str, Any]]:
        """Replies where the version has learned any, else how the texts go on, with the log probability of each."""
        written = model.generate(inputs, reply=REPLY in self.labels)
        return [
            {
                "prediction": model.preprocess.decode(row.tokens),
                "scores": {"log_probability": row.log_probability, "tokens": len(row.tokens), "ended": row.ended},
            }
            for row in written
        ]

    def answers(self, outputs: torch.Tensor) -> list[Any]:
        """The perplexity of each text."""
        losses = outputs[:, 1].tolist()
        return [math.exp(loss) if loss < math.log(1e30) else None for loss in losses]

    def same(self, one: Any, other: Any) -> bool:
        """Whether two perplexities are nearly one."""
        return one == other if one is None or other is None else abs(one - other) <= ALIKE * max(one, other)

    def better(self, one: Any, other: Any, target: Any) -> bool:
        """Whether one perplexity is lower."""
        return (math.inf if one is None else one) < (math.inf if other is None else other)
