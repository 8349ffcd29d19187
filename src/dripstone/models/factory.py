"""From a spec to a module: the one place where a stored name becomes a call.

A store may come from somebody else, so the name in it is not trusted to be harmless. Only a class of modules, or a
function whose return annotation is one, is ever called, and from torch itself only the classes of ``torch.nn``:
``torch.fx`` has functions that return modules and run source code which they are given.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from torch import nn

from dripstone.core.errors import DripstoneError, ModelError
from dripstone.core.records import Spec
from dripstone.core.seeding import seeded
from dripstone.models.classifier import Classifier
from dripstone.models.language_model import LanguageModel
from dripstone.models.wrap import HEAD_KEY, wrap

Ready = Classifier | LanguageModel
"""What the stages work with; any other module is wrapped into a classifier first."""


def ModelSpec(factory: str, kwargs: Mapping[str, Any] | None = None, output: str | None = None) -> Spec:
    """Say how a module is rebuilt without its weights.

    Parameters
    ----------
    factory : str
        ``"package.module:name"`` of a class of modules, or of a function that is annotated to return one.
    kwargs : mapping of str, optional
        Its keyword arguments; what JSON can hold. The reserved key ``"@head"`` says which head a wrapped module gets,
        see `dripstone.models.wrap.wrap`.
    output : str, optional
        Path of the output layer inside a module that is wrapped, as in ``named_modules()``; by default the last
        ``torch.nn.Linear``.

    Raises
    ------
    ModelError
        If the name has another form, names a script, or an argument is not JSON.

    Examples
    --------
    >>> ModelSpec("torch.nn:Linear", {"in_features": 4, "out_features": 2}).factory
    'torch.nn:Linear'
    """
    module, _, name = factory.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise ModelError(
            f"{factory!r} names no factory", remedy="write it as 'package.module:name'", kind="model.factory"
        )
    if module == "__main__":
        raise ModelError(
            f"{factory!r} is part of a script, which no other process can import",
            remedy="move it to a module that can be imported",
            kind="model.factory",
        )
    try:
        plain = json.loads(json.dumps(dict(kwargs or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"an argument of {factory} is not JSON: {error}",
            remedy="use strings, numbers, booleans, None, lists and dicts",
            kind="model.arguments",
        ) from None
    return Spec(factory=factory, kwargs=plain, output=output)


def build(spec: Spec, assets: Mapping[str, bytes], classes: int, known_output: bool = False) -> Ready:
    """Rebuild a model; its weights are the factory's own until `dripstone.core.fork.fill` puts others in.

    Parameters
    ----------
    spec : Spec
        As `ModelSpec` or a classifier's ``spec`` has it.
    assets : mapping of str to bytes
        The files that ``spec.assets`` names; handed to the factory as ``assets`` where there are any.
    classes : int
        Labels that there is room for in the end.
    known_output : bool
        Whether a module that is wrapped for the first time keeps its output layer for the ``classes``. A spec that
        has been wrapped before says so itself.

    Raises
    ------
    ModelError
        If the factory cannot be imported, may not be called, or fails, or an asset is missing or not the one named.

    Examples
    --------
    >>> from dripstone.models import mlp
    >>> model = mlp(inputs=4, random_features=8)
    >>> build(model.spec, model.assets, classes=3).head.weight.shape
    torch.Size([3, 12])
    """
    checked = ModelSpec(spec.factory, spec.kwargs, spec.output)
    _check_assets(spec, assets)
    target = _find(spec.factory)
    arguments = {key: value for key, value in checked.kwargs.items() if key != HEAD_KEY}
    module = _call(target, spec.factory, arguments | ({"assets": dict(assets)} if assets else {}))
    model = _wrapped(module, spec, labels_known=classes if known_output else 0)
    model.assets = model.assets or dict(assets)
    model.grow(classes)
    return model


def prepare(model: nn.Module, spec: Spec | None, labels_known: int) -> Ready:
    """Turn what a user gives as ``model=`` into a model that the stages work with.

    Parameters
    ----------
    model : Classifier, LanguageModel or torch.nn.Module
        The former two pass through; another module is wrapped and not touched.
    spec : Spec or None
        What rebuilds the module; a ready model brings its own.
    labels_known : int
        Number of labels that the module's output layer knows already; 0 gives it a new head.

    Raises
    ------
    ModelError
        If a module comes without a spec, or a ready model with one that is not its own.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> prepare(net, ModelSpec("my_package.nets:make"), labels_known=3).head.weight.shape
    torch.Size([3, 8])
    """
    if isinstance(model, Ready):
        if spec is not None and spec != model.spec:
            raise ModelError(
                f"the model has a spec already, {model.spec.factory}", remedy="leave spec= out", kind="model.spec"
            )
        return model
    if spec is None:
        raise ModelError(
            f"nothing says how {type(model).__name__} is rebuilt",
            remedy="pass spec=ModelSpec('package.module:factory', kwargs)",
            kind="model.spec",
        )
    return _wrapped(model, spec, labels_known)


def _wrapped(module: nn.Module, spec: Spec, labels_known: int) -> Ready:
    if isinstance(module, Ready):
        return module
    head = spec.kwargs.get(HEAD_KEY)
    if head is None:
        return wrap(module, spec, labels_known)
    kept = isinstance(head, dict) and head.keys() == {"kept"}
    new = isinstance(head, dict) and head.keys() <= {"random_features", "seed"}
    if not (kept or new) or not all(type(value) is int and value >= 0 for value in head.values()):
        raise ModelError(
            f"{HEAD_KEY!r} is {head!r}",
            remedy="write {'kept': labels} or {'random_features': size, 'seed': number}",
            kind="model.arguments",
        )
    return wrap(module, spec, labels_known=head["kept"]) if kept else wrap(module, spec, **head)


def _check_assets(spec: Spec, assets: Mapping[str, bytes]) -> None:
    for name in sorted(spec.assets.keys() | assets.keys()):
        found = hashlib.sha256(assets[name]).hexdigest() if name in assets else "missing"
        if found != spec.assets.get(name):
            raise ModelError(
                f"the file {name!r} that {spec.factory} reads is not the one in its spec",
                remedy="pass the spec and the assets of one and the same model",
                kind="model.assets",
            )


def _find(factory: str) -> Callable[..., Any]:
    path, _, name = factory.partition(":")
    try:
        target = getattr(importlib.import_module(path), name)
    except Exception as error:  # whatever the imported module raises
        raise ModelError(
            f"{factory} cannot be imported: {error}",
            remedy="install the package, or run where it can be imported",
            kind="model.import",
        ) from error
    if not _may_be_called(target):
        raise ModelError(
            f"{factory} is not known to make a module",
            remedy="name a subclass of torch.nn.Module, or a function annotated to return one",
            kind="model.factory",
        )
    return target


def _may_be_called(target: object) -> bool:
    home = str(getattr(target, "__module__", "")) + "."
    if home.startswith("torch.") and not (isinstance(target, type) and home.startswith("torch.nn.modules.")):
        return False
    if isinstance(target, types.FunctionType):
        try:
            target = typing.get_type_hints(target).get("return")
        except (NameError, AttributeError, TypeError):  # an annotation that cannot be resolved vouches for nothing
            return False
    return isinstance(target, type) and issubclass(target, nn.Module)


def default_of(spec: Spec, argument: str) -> Any:
    """What a factory takes an argument to be where a spec says nothing of it; None where it has no such argument.

    Raises
    ------
    ModelError
        As `build`.

    Examples
    --------
    >>> default_of(ModelSpec("dripstone.models:mlp"), "activation")
    'relu'
    """
    parameter = inspect.signature(_find(spec.factory)).parameters.get(argument)
    return None if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _call(target: Callable[..., Any], factory: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ModelError(
            f"{factory} does not take these arguments: {error}",
            remedy=f"call it as {factory.partition(':')[2]}{inspect.signature(target)}",
            kind="model.arguments",
        ) from None
    try:
        with seeded(0):
            module = target(**arguments)
    except DripstoneError:
        raise
    except Exception as error:  # whatever the user's factory raises
        raise ModelError(f"{factory} failed: {error}", remedy="mend its arguments", kind="model.factory") from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{factory} returned {type(module).__name__}, no module",
            remedy="let it return a torch.nn.Module",
            kind="model.factory",
        )
    return module


def with_assets(spec: Spec, assets: Mapping[str, bytes]) -> Spec:
    """The spec with the SHA-256 of each file that the factory reads.

    Examples
    --------
    >>> with_assets(ModelSpec("package.module:name"), {"vocabulary": b""}).assets["vocabulary"][:8]
    'e3b0c442'
    """
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in assets.items()}
    return msgspec.structs.replace(spec, assets=hashes)
