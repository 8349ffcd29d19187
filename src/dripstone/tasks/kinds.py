"""The kinds of task, by the name that a store and ``dripstone.toml`` have for them."""

from __future__ import annotations

from collections.abc import Sequence

from dripstone.core.errors import ModelError
from dripstone.core.examples import Label
from dripstone.core.protocols import Model, Task
from dripstone.tasks.causal_lm import CausalLM
from dripstone.tasks.classification import Classification
from dripstone.tasks.regression import Regression
from dripstone.tasks.seq2seq import Seq2Seq

KINDS: dict[str, type[Classification] | type[Regression] | type[CausalLM]] = {
    "classification": Classification,
    "regression": Regression,
    "causal_lm": CausalLM,
    "seq2seq": Seq2Seq,
}


def task_of(kind: str, labels: Sequence[Label], model: Model) -> Task:
    """The task of a version, by what its manifest says and what its model has in it.

    Raises
    ------
    ModelError
        If there is no such kind.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> task_of("classification", ["no", "yes"], mlp(inputs=2)).labels
    ('no', 'yes')
    """
    if kind not in KINDS:
        raise ModelError(f"there is no task {kind!r}", remedy=f"use {' or '.join(map(repr, KINDS))}", kind="model.task")
    return KINDS[kind](tuple(labels)).of(model)
