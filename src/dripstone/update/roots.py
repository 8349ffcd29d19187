"""Roots: the untrained versions that projects begin from, and another one in its place while nothing was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import torch
from torch import nn

from dripstone.core.bits import view_raw
from dripstone.core.devices import chosen_device, place
from dripstone.core.errors import ModelError
from dripstone.core.examples import Content, Label
from dripstone.core.fork import fork, named_tensors
from dripstone.core.protocols import Model
from dripstone.core.records import LogEntry, Manifest, Spec
from dripstone.models.activations import ACTIVATIONS
from dripstone.models.factory import build, default_of
from dripstone.store.repository import Repository, StoredVersion
from dripstone.tasks.kinds import task_of
from dripstone.train.features import features_of
from dripstone.update import moves
from dripstone.update.champion import Champion

UNTRAINED = "none"
"""What a root's manifest says that moved."""

ARGUMENT = "activation"
"""Of a factory that lets its activation be chosen."""

COMPARED = 8
"""Rows on which it is seen whether an activation changes anything."""


def write_root(repository: Repository, model: Model, task: str, labels: Sequence[Label]) -> StoredVersion:
    """Store an untrained model; nothing refers to it yet."""
    module: nn.Module = model  # type: ignore[assignment]
    return repository.write_version(
        spec=model.spec,
        assets=model.assets,
        task=task,
        labels=list(labels),
        parent=None,
        selection=UNTRAINED,
        data="",
        tensors={name: view_raw(tensor) for name, tensor in named_tensors(module).items()},
    )


def activations_for(
    repository: Repository, champion: Champion, contents: Sequence[Content]
) -> tuple[dict[str, Champion], str]:
    """The activations that the model could begin with, its own first, each with the root that has it; and a word on it.

    There are none but where the project has learned nothing, the factory takes one of those that `mlp` does, the
    weights are the ones that it draws, and the answers to ``contents`` depend on it.
    """
    manifest = repository.manifest(champion.version)
    own = own_activation(manifest.spec)
    if own is None:
        return {}, "the model takes none that could be searched"
    if not _has_learned_nothing(repository):
        return {}, f"{own}, as the project has learned with it"
    assets = {name: repository.read_asset(digest) for name, digest in manifest.spec.assets.items()}
    try:
        models = {name: _build(manifest, assets, name) for name in dict.fromkeys([own, *ACTIVATIONS])}
    except ModelError as error:
        return {}, f"{own}: {error.message}"
    if not _same_weights(models[own], champion.model):
        return {}, f"{own}, as the weights came with the model"
    if not _differs(models[own], [models[name] for name in models if name != own], contents[:COMPARED]):
        return {}, "the model has no layer that it acts on"
    roots = {name: _with_model(champion, manifest, model) for name, model in models.items() if name != own}
    return {own: champion, **roots}, "searched, since the project has learned nothing yet"


def own_activation(spec: Spec) -> str | None:
    """The activation of a model, by its name; None where the factory takes none, or another kind of thing."""
    given = spec.kwargs.get(ARGUMENT, default_of(spec, ARGUMENT))
    return given if isinstance(given, str) and given in ACTIVATIONS else None


def replace_root(repository: Repository, root: Champion, number: int, reason: str) -> LogEntry:
    """Make another root live, in one log entry after entry ``number``; rows that wait go on waiting.

    Raises
    ------
    RaceLostError
        If somebody else moved the store meanwhile; nothing has changed then.
    """
    before = repository.manifest(root.version)
    stored = write_root(repository, root.model, before.task, before.labels)
    return moves.begin_anew(repository, stored.version, number, reason)


def _has_learned_nothing(repository: Repository) -> bool:
    """Whether nothing was ever live but roots."""
    versions = {entry.version for entry in repository.log.entries()}
    manifests = map(repository.manifest, versions)
    return all(manifest.parent is None and manifest.selection == UNTRAINED for manifest in manifests)


def _build(manifest: Manifest, assets: dict[str, bytes], name: str) -> Model:
    spec = manifest.spec
    if name != own_activation(spec):
        spec = msgspec.structs.replace(spec, kwargs={**spec.kwargs, ARGUMENT: name})
    model = build(spec, assets, classes=len(manifest.labels))
    return place(model, chosen_device()).eval()  # type: ignore[return-value]


def _same_weights(model: Model, other: Model) -> bool:
    modules: list[nn.Module] = [model, other]  # type: ignore[list-item]
    one, two = map(named_tensors, modules)
    return one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def _differs(model: Model, others: Sequence[Model], contents: Sequence[Content]) -> bool:
    """Whether each of the others makes other features of the rows; preprocessing is fitted in forks of them."""
    own, *rest = (_features(one, contents) for one in (model, *others))
    return all(features.shape == own.shape and not torch.equal(features, own) for features in rest)


def _features(model: Model, contents: Sequence[Content]) -> torch.Tensor:
    module: nn.Module = model  # type: ignore[assignment]
    fitted: Model = fork(module, [])  # type: ignore[assignment]
    fitted.fit(contents)
    return features_of(fitted, contents)


def _with_model(champion: Champion, manifest: Manifest, model: Model) -> Champion:
    return replace(champion, model=model, task=task_of(manifest.task, manifest.labels, model))
