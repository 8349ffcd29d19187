"""Sequence to sequence: an example is a text, and the text that should be made of it.

It is language modelling in which every row has a reply. Whether a version would write just that is what ``evaluate``
says first, and may be what the gate judges by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dripstone.core.examples import Label
from dripstone.tasks.causal_lm import CausalLM


@dataclass(frozen=True, slots=True)
class Seq2Seq(CausalLM):
    """``labels`` are ``("reply",)`` once anything was learned.

    A reply that the live version would not write word for word is news as often as a mistake: no version writes what it
    was never shown. So rows are not refused for that alone, as ``gate.sense`` would below 1; a batch that contradicts
    has to prove its gain, and to leave alone what was right.

    Examples
    --------
    >>> from dripstone.core.examples import Reply
    >>> Seq2Seq().grow([Reply("1999-05-03")]).labels
    ('reply',)
    """

    kind: ClassVar[str] = "seq2seq"
    metrics: ClassVar[tuple[str, ...]] = ("token_loss", "accuracy")
    replies: ClassVar[bool] = True

    @staticmethod
    def settings(model: Any) -> Mapping[str, Any]:
        """What a new project has other than by default."""
        return {**CausalLM.settings(model), "gate.sense": 1.0, "train.stop.epochs": 5}

    @staticmethod
    def known(model: Any) -> tuple[Label, ...]:
        """Nothing: that a pretrained model writes texts does not say that it replies."""
        return ()
