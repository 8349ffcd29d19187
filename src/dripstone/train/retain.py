"""Which terms against forgetting the loop's loss gets, besides replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from dripstone.core.config import Retain
from dripstone.core.protocols import Model
from dripstone.train.derpp import DarkExperienceReplay
from dripstone.train.distillation import Distillation
from dripstone.train.ewc import ElasticWeightConsolidation, fisher_diagonal
from dripstone.train.held_logits import HeldLogits, HeldTokens
from dripstone.train.l2 import L2Penalty, held_part
from dripstone.train.rows import Rows

RowTerms = list[Distillation | DarkExperienceReplay]
"""Terms over the rows of a batch: ``loss(logits, index)``."""

ParameterTerms = list[ElasticWeightConsolidation | L2Penalty]
"""Terms over the live parameters: ``loss()``."""


def make_terms(
    model: nn.Module, named: Mapping[str, nn.Parameter], rows: Rows, config: Retain
) -> tuple[RowTerms, ParameterTerms]:
    """The terms that the configuration asks for and that have something to hold.

    Each gives its share of the loss with its own weight in it, so that they need only be added. A term of weight 0 is
    left out, as is one without rows: distillation needs new rows, dark experience replay and elastic weight
    consolidation need replayed ones.

    Parameters
    ----------
    model : torch.nn.Module
        The fork before training: the champion, but for a head that may have grown. It is only read.
    named : mapping of str to torch.nn.Parameter
        The parameters that may move. Their values of now are those that are held; of the head's, those of the labels
        that the champion knew. One under several names counts once.
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
    >>> model = mlp(inputs=2, random_features=16)
    >>> model.head.grow(2)
    >>> inputs = [np.array([x, 1.0], dtype="f4") for x in (-1.0, 1.0)]
    >>> old = torch.tensor([False, True])
    >>> rows = Rows(inputs, torch.tensor([1, 0]), torch.ones(2), None, old, known=1, champion_logits=torch.zeros(2, 1))
    >>> named = {"head.weight": model.head.weight}
    >>> per_row, per_parameter = make_terms(model, named, rows, Retain(distill=1.0, l2=0.1))
    >>> [type(term).__name__ for term in per_row + per_parameter]
    ['Distillation', 'L2Penalty']
    """
    return _row_terms(rows, config), _parameter_terms(model, named, rows, config)


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


def _parameter_terms(model: nn.Module, named: Mapping[str, nn.Parameter], rows: Rows, config: Retain) -> ParameterTerms:
    if not (config.ewc or config.l2):
        return []
    parameters = list({id(parameter): parameter for parameter in named.values()}.values())
    starts = [_start(model, parameter, rows.known) for parameter in parameters]
    held = [(parameter, start) for parameter, start in zip(parameters, starts, strict=True) if start.numel()]
    if not held:
        return []
    parameters, starts = [parameter for parameter, _ in held], [start for _, start in held]
    terms: ParameterTerms = []
    if config.ewc and (fisher := _fisher(model, parameters, starts, rows)):
        terms.append(ElasticWeightConsolidation(config.ewc, parameters, starts, fisher))
    if config.l2:
        terms.append(L2Penalty(config.l2, parameters, starts))
    return terms


def _start(model: nn.Module, parameter: nn.Parameter, known: int) -> torch.Tensor:
    wrapped: Model = model  # type: ignore[assignment]
    values = parameter.detach()
    grows = any(parameter is one for one in wrapped.head.parameters(recurse=False))
    return (values[:known] if grows else values).clone()


def _fisher(
    model: nn.Module, parameters: Sequence[nn.Parameter], starts: Sequence[torch.Tensor], rows: Rows
) -> list[torch.Tensor]:
    """Importances of what is held, from replayed rows; nothing if there are none."""
    labels = rows.targets.dim() == 1 and not rows.targets.is_floating_point()
    learned = rows.targets < rows.known if labels else torch.ones_like(rows.old)
    index = torch.nonzero(rows.old & (rows.weights > 0) & learned).flatten()
    if len(index) == 0:
        return []
    fisher = fisher_diagonal(
        model,
        parameters,
        [] if rows.features is not None else [rows.inputs[i] for i in index.tolist()],
        rows.targets[index],
        rows.weights[index],
        rows.known,
        None if rows.features is None else rows.features[index],
        rows.losses,
    )
    return [held_part(whole, start) for whole, start in zip(fisher, starts, strict=True)]
