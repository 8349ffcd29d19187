"""What the loop of a lesson learns: rows with labels or numbers as they are, texts packed into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from dripstone.core.examples import Example
from dripstone.core.losses import IGNORED
from dripstone.core.protocols import Model, TextModel
from dripstone.curate.policy import parse_policy
from dripstone.train.activation_cache import ActivationCache
from dripstone.train.features import outputs_of
from dripstone.train.rows import Rows
from dripstone.update.lesson import Lesson, training_weights


def rows_of(
    lesson: Lesson, model: Model, names: Sequence[str], *, head_only: bool
) -> tuple[Rows, ActivationCache | None]:
    """New and replayed rows, and the cache of what lies below the named parameters, where there is one.

    Parameters
    ----------
    lesson : Lesson
        What is learned.
    model : Model
        The fork that learns it.
    names : sequence of str
        Its parameters that move.
    head_only : bool
        Whether these are the output layer alone.
    """
    if lesson.task.texts:
        return _texts(lesson, model), ActivationCache(model, names)
    cache = lesson.encoding.cache
    if cache is not None:
        cache.attach(model)
    elif names and not head_only:  # which blocks move was not known when the rows were encoded
        cache = ActivationCache(model, names)
        cache = cache if cache.reason is None and lesson.config.train.stop.epochs > 1 else None
    return _rows(lesson, model, head_only=head_only), cache


def _rows(lesson: Lesson, model: Model, *, head_only: bool) -> Rows:
    retain = lesson.config.train.retain
    old_logits = bool(lesson.champion.task.labels) and bool(retain.distill or retain.derpp)
    fixed = head_only and not parse_policy(lesson.config.curate.policy).augment
    features = _all_features(lesson) if fixed or old_logits else None
    return Rows(
        inputs=[row.inputs for row in [*lesson.rows, *lesson.replay]],
        targets=torch.cat([lesson.targets, torch.from_numpy(lesson.task.encode([r.target for r in lesson.replay]))]),
        weights=torch.cat([lesson.weights, training_weights(lesson.replay)]),
        features=features if fixed else None,
        replayed=torch.arange(len(lesson.rows) + len(lesson.replay)) >= len(lesson.rows),
        known=len(lesson.champion.task.labels),
        champion_logits=outputs_of(lesson.champion.model, features) if old_logits and features is not None else None,
        losses=lesson.task.of(model).losses,
    )


def _all_features(lesson: Lesson) -> torch.Tensor:
    """The champion's features of new and replayed rows."""
    if not lesson.replay:
        return lesson.features
    return torch.cat([lesson.features, lesson.encoding.encode([row.content for row in lesson.replay])])


def _texts(lesson: Lesson, model: Model) -> Rows:
    """Windows of new texts, then of replayed ones; those of one window weigh the same, and every token alike."""
    groups = list(_alike(lesson))
    texts: TextModel = model  # type: ignore[assignment]
    parts = texts.windows([[row.content for row in rows] for _, rows in groups])
    weights, replayed = [], []
    for (old, rows), (_, targets) in zip(groups, parts, strict=True):
        weights.append(rows[0].training_weight * (targets != IGNORED).sum(dim=1).double())
        replayed.append(torch.full((len(targets),), old))
    return Rows(
        inputs=[window for windows, _ in parts for window in windows],
        targets=torch.cat([targets for _, targets in parts]),
        weights=torch.cat(weights),
        replayed=torch.cat(replayed),
        known=len(model.head.weight) if lesson.champion.task.labels else 0,
        losses=lesson.task.losses,
        champion=lesson.champion.model,
    )


def _alike(lesson: Lesson) -> Iterator[tuple[bool, list[Example]]]:
    """New texts by weight, then replayed ones by weight, and whether they are replayed."""
    for old, rows in ((False, lesson.rows), (True, lesson.replay)):
        by_weight: dict[float, list[Example]] = {}
        for row in rows:
            by_weight.setdefault(row.training_weight, []).append(row)
        yield from ((old, alike) for alike in by_weight.values())
