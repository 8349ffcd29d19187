"""Which terms against forgetting the loop's loss gets, besides replay."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn

from dripstone.core.config import Retain
from dripstone.core.protocols import Model
from dripstone.train.derpp import DarkExperienceReplay
from dripstone.train.distillation import Distillation
from dripstone.train.ewc import ElasticWeightConsolidation, fisher_diagonal
from dripstone.train.held_logits import HeldLogits, HeldTokens
from dripstone.train.l2 import L2Penalty, held_part
from dripstone.train.packed import Moving
from dripstone.train.rows import Rows

RowTerms = list[Distillation | DarkExperienceReplay]
"""Terms over the rows of a batch: ``loss(logits, index)``."""

ParameterTerms = list[ElasticWeightConsolidation | L2Penalty]
"""Terms over the live parameters: ``loss()``."""


def make_terms(
    model: nn.Module, moving: Collection[Moving], rows: Rows, config: Retain
) -> tuple[RowTerms, ParameterTerms]:
    """The terms that the configuration asks for and that have something to hold.

    Each gives its share of the loss with its own weight in it, so that they need only be added. A term of weight 0 is
    left out, as is one without rows: distillation needs new rows, dark experience replay and elastic weight
    consolidation need replayed ones.

    Parameters
    ----------
    model : torch.nn.Module
        The fork before training: the champion, but for a head that may have grown. It is only read.
    moving : collection of Moving
        What may move. Its values of now are those that are held; of the head's, those of the labels that the champion
        knew. A parameter under several names counts once.
    rows : Rows
        New and replayed rows.
    config : Retain
        Weights of the terms.

    Raises
    ------
    ValueError
        If a term needs the champion's logits and there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from dripstone.models import mlp
    >>> from dripstone.train.packed import Packed
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> inputs = [np.array([x, 1.0], dtype="f4") for x in (-1.0, 1.0)]
    >>> old = torch.tensor([False, True])
    >>> rows = Rows(inputs, torch.tensor([1, 0]), torch.ones(2), None, old, known=1, champion_logits=torch.zeros(2, 1))
    >>> moving = Packed({"head.weight": model.head.weight}, {}).moving
    >>> per_row, per_parameter = make_terms(model, moving.values(), rows, Retain(distill=1.0, l2=0.1))
    >>> [type(term).__name__ for term in per_row + per_parameter]
    ['Distillation', 'L2Penalty']
    """
    return _row_terms(rows, config), _parameter_terms(model, moving, rows, config)


def _row_terms(rows: Rows, config: Retain) -> RowTerms:
    if rows.known == 0 or not (config.distill or config.derpp):
        return []
    relative = rows.relative_weights()
    new, old = relative.where(~rows.old, 0.0), relative.where(rows.old, 0.0)
    terms: RowTerms = []
    if config.distill and bool(new.any()):
        terms.append(Distillation(config.distill, _held(rows, new)))
    if config.derpp and bool(old.any()):
        terms.append(DarkExperienceReplay(config.derpp, _held(rows, old)))
    return terms


def _held(rows: Rows, weights: torch.Tensor) -> HeldLogits | HeldTokens:
    if rows.champion is not None:
        return HeldTokens(rows.champion, rows.inputs, rows.targets, weights)
    if rows.champion_logits is None:
        raise ValueError("distillation and dark experience replay need the champion's logits")
    return HeldLogits(rows.champion_logits, weights)


def _parameter_terms(model: nn.Module, moving: Collection[Moving], rows: Rows, config: Retain) -> ParameterTerms:
    if not (config.ewc or config.l2):
        return []
    once = {id(one.leaf): one for one in moving}.values()
    pairs = [(one, _start(model, one, rows.known)) for one in once]
    pairs = [(one, start) for one, start in pairs if start.numel()]
    if not pairs:
        return []
    held, starts = [one for one, _ in pairs], [start for _, start in pairs]
    leaves = [one.leaf for one in held]
    terms: ParameterTerms = []
    if config.ewc and (fisher := _fisher(model, held, starts, rows)):
        terms.append(ElasticWeightConsolidation(config.ewc, leaves, starts, fisher))
    if config.l2:
        terms.append(L2Penalty(config.l2, leaves, starts))
    return terms


def _start(model: nn.Module, moving: Moving, known: int) -> torch.Tensor:
    """What is held of a leaf: of the head's, that of the labels the champion knew, which come first in it."""
    wrapped: Model = model  # type: ignore[assignment]
    values = moving.leaf.detach()
    if any(moving.parameter is one for one in wrapped.head.parameters(recurse=False)):
        part = moving.part
        values = values[: known if part is None else part.before(known, moving.parameter.shape)]
    return values.clone()


def _fisher(model: nn.Module, held: Sequence[Moving], starts: Sequence[torch.Tensor], rows: Rows) -> list[torch.Tensor]:
    """Importances of what is held, from replayed rows; nothing if there are none."""
    labels = rows.targets.dim() == 1 and not rows.targets.is_floating_point()
    learned = rows.targets < rows.known if labels else torch.ones_like(rows.old)
    index = torch.nonzero(rows.old & (rows.weights > 0) & learned).flatten()
    if len(index) == 0:
        return []
    fisher = fisher_diagonal(
        model,
        [one.parameter for one in held],
        [] if rows.features is not None else [rows.inputs[i] for i in index.tolist()],
        rows.targets[index],
        rows.weights[index],
        rows.known,
        None if rows.features is None else rows.features[index],
        rows.losses,
    )
    return [held_part(one.of(whole), start) for one, whole, start in zip(held, fisher, starts, strict=True)]
