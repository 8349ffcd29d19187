"""From a stored version to a live module: the two lines that learner, update and server share."""

from __future__ import annotations

from torch import nn

from dripstone.core.bits import from_raw
from dripstone.core.devices import chosen_device, place
from dripstone.core.errors import ModelError
from dripstone.core.fork import fill, fork, named_tensors
from dripstone.core.records import Manifest
from dripstone.models.factory import build
from dripstone.store.repository import Repository

LATE = {"head.penalty"}
"""Tensors that versions of early stores lack; the module's own value stands in."""


def checkout(repository: Repository, version: str, current: tuple[str, nn.Module] | None = None) -> nn.Module:
    """Build the module of a version, in eval mode, each tensor checked against its digest; on the GPU if there is one.

    Parameters
    ----------
    repository : Repository
        The store.
    version : str
        Full version id.
    current : tuple of str and torch.nn.Module, optional
        A version that is loaded already. The result then shares every tensor that is the same in both, and only the
        others are read. The loaded module is not touched.

    Raises
    ------
    StoreError
        If a manifest or an object is missing or damaged.
    ModelError
        If the factory does not import, or makes a module that these weights do not fit.
    """
    manifest = repository.manifest(version)
    if current is not None:
        old = repository.manifest(current[0])
        if _same_recipe(old, manifest):
            return _from_fork(repository, version, manifest, old, current[1])
    assets = {name: repository.read_asset(digest) for name, digest in manifest.spec.assets.items()}
    model = build(manifest.spec, assets, classes=len(manifest.labels))
    _check_fit(version, manifest, model)
    fill(model, ((name, from_raw(raw)) for name, raw in repository.each_tensor(version)))
    return place(model, chosen_device()).eval()


def _same_recipe(old: Manifest, new: Manifest) -> bool:
    return old.spec == new.spec and old.tensors.keys() == new.tensors.keys()


def _from_fork(repository: Repository, version: str, manifest: Manifest, old: Manifest, module: nn.Module) -> nn.Module:
    def content(m: Manifest, name: str) -> tuple[str, str, list[int]]:
        entry = m.tensors[name]
        return entry.digest, entry.dtype, entry.shape

    _check_fit(version, manifest, module)
    names = [name for name in manifest.tensors if content(old, name) != content(manifest, name)]
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    twin = fork(module, [name for name in names if name in parameters])
    fill(twin, ((name, from_raw(raw)) for name, raw in repository.each_tensor(version, names)))
    return twin.eval()


def _check_fit(version: str, manifest: Manifest, model: nn.Module) -> None:
    """The head has a row for each label of the version; every other shape is the module's own, or the version's."""
    made = {name: list(tensor.shape) for name, tensor in named_tensors(model).items()}
    stored = manifest.tensors
    for name in model.growing & made.keys() & stored.keys():  # type: ignore[operator]
        made[name][0] = len(manifest.labels) if name.startswith("head.") else stored[name].shape[0]
    made = {name: shape for name, shape in made.items() if name in stored or name not in LATE}
    wrong = sorted(made.keys() ^ stored.keys()) or sorted(name for name in made if made[name] != stored[name].shape)
    if wrong:
        raise ModelError(
            f"{manifest.spec.factory} makes a module that does not fit the weights of version {version[:12]}: "
            f"{wrong[0]!r} differs",
            remedy="install the version of the factory's package that made this store",
            kind="model.weights",
        )
