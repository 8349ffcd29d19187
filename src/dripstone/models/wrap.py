"""Any module of a user's as a classifier: its output layer is taken out, what went into it are the features."""

from __future__ import annotations

import msgspec
import torch
from torch import nn

from dripstone.core.errors import DataError, ModelError
from dripstone.core.fork import fork
from dripstone.core.records import Spec
from dripstone.models.classifier import Batch, Classifier
from dripstone.models.head import Head, Identity, RandomFourierFeatures
from dripstone.models.preprocess import Stack

HEAD_KEY = "@head"
"""Where a wrapped module's spec keeps its head, among the factory's arguments: no argument can have this name."""


def wrap(
    module: nn.Module, spec: Spec, labels_known: int = 0, random_features: int = 2048, seed: int = 0
) -> Classifier:
    """Make a classifier of a module that ends in a linear layer.

    The module is copied, so that it may be trained on without moving the classifier. The copy's output layer is
    replaced by an identity; it has to be the last thing that the module computes, because what came after it, a softmax
    for instance, would now act on the features.

    Parameters
    ----------
    module : torch.nn.Module
        Takes what its preprocessing makes of the rows. That is its attribute ``preprocess`` where it is a module with
        ``fit`` and ``collate``, else `dripstone.models.preprocess.Stack`.
    spec : Spec
        What rebuilds the module. ``spec.output`` names the output layer; else it is the last ``torch.nn.Linear``.
    labels_known : int
        Labels that the output layer knows: its weight and bias become the head's. 0 makes a new head of random
        features without classes.
    random_features, seed : int
        Of the new head.

    Returns
    -------
    Classifier
        Its spec is ``spec`` with ``output`` filled in and the key ``"@head"`` in ``kwargs``: ``{"kept": labels_known}``
        or ``{"random_features": random_features, "seed": seed}``. So the spec alone rebuilds it.

    Raises
    ------
    ModelError
        If there is no output layer, it does not have ``labels_known`` outputs, or something follows it.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> model = wrap(net, Spec("my_package.nets:make"), labels_known=3)
    >>> x = torch.ones(2, 4)
    >>> torch.equal(model(x), net(x)), model.spec.output
    (True, '2')
    """
    path, layer = _output_layer(module, spec)
    _check_labels(path, layer, labels_known)
    copied = fork(module, [name for name, _ in module.named_parameters()])
    settings = {"kept": labels_known} if labels_known else {"random_features": random_features, "seed": seed}
    return Classifier(
        preprocess=_preprocess(copied),
        backbone=Headless(copied, path, layer.in_features),
        head=_head(layer, labels_known, random_features, seed),
        spec=msgspec.structs.replace(spec, output=path, kwargs={**spec.kwargs, HEAD_KEY: settings}),
        assets={},
    )


_REMEDY = "send rows of the shape that the module takes"
_REMEDY_IN_BFLOAT16 = f"{_REMEDY}; or, if it does not train in bfloat16, hide the GPU with CUDA_VISIBLE_DEVICES="


class Headless(nn.Module):
    """A module without its output layer.

    Parameters
    ----------
    module : torch.nn.Module
        It is changed: an `OutputPlace` takes the place of the layer at ``path``.
    path : str
        Where the output layer was; empty where it was the whole module.
    features : int
        What went into it.

    Raises
    ------
    DataError
        By ``forward``, if the module cannot take the batch, or the output layer could not have taken what comes of it.
    ModelError
        By ``forward``, if the module gives something other than features.

    Examples
    --------
    >>> Headless(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), "1", 8)(torch.ones(2, 4)).shape
    torch.Size([2, 8])
    """

    def __init__(self, module: nn.Module, path: str, features: int) -> None:
        super().__init__()
        if path:
            module.set_submodule(path, OutputPlace(features))
        self.module = module if path else OutputPlace(features)
        self.width = features

    def forward(self, batch: Batch) -> torch.Tensor:
        """A batch -> [rows, features]."""
        try:
            features = self.module(batch)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # what a module says of a wrong shape
            raise DataError(
                f"the model cannot take a batch of shape {_shape(batch)}: {error}",
                remedy=_REMEDY_IN_BFLOAT16 if torch.is_autocast_enabled("cuda") else _REMEDY,
                kind="data.shape",
            ) from error
        if not isinstance(features, torch.Tensor) or features.dim() != 2 or features.shape[1] != self.width:
            found = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise ModelError(
                f"without its output layer the model gives {found}, not [rows, {self.width}]",
                remedy="let the module return the output layer's result and nothing else",
                kind="model.features",
            )
        return features


class OutputPlace(nn.Module):
    """Where an output layer was. It lets features pass, and fails where the layer would have: at another width.

    Parameters
    ----------
    width : int
        Features that the layer took.

    Examples
    --------
    >>> OutputPlace(3)(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[..., width] -> the same."""
        if features.shape[-1:] != (self.width,):
            raise ValueError(f"the output layer takes {self.width} features, not {list(features.shape)}")
        return features


def _shape(batch: Batch) -> str:
    if isinstance(batch, torch.Tensor):
        return str(list(batch.shape))
    return ", ".join(f"{name} {list(values.shape)}" for name, values in batch.items())


def _output_layer(module: nn.Module, spec: Spec) -> tuple[str, nn.Linear]:
    layers = {path: layer for path, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    path = spec.output if spec.output is not None else next(reversed(layers), None)
    if path is None or path not in layers:
        what = "has no torch.nn.Linear" if path is None else f"has no torch.nn.Linear at {path!r}"
        raise ModelError(
            f"{type(module).__name__} {what} that could be the output layer",
            remedy=f"name it with ModelSpec(..., output=PATH), one of {', '.join(layers)}"
            if layers
            else "give it an output layer torch.nn.Linear(features, classes)",
            kind="model.output",
        )
    _check_last(module, path)
    return path, layers[path]


def _check_labels(path: str, layer: nn.Linear, labels_known: int) -> None:
    if labels_known and layer.out_features != labels_known:
        raise ModelError(
            f"the output layer {path!r} has {layer.out_features} outputs for {labels_known} known labels",
            remedy="name every label that the model knows, in the order of its outputs, or none",
            kind="model.labels",
        )


def _preprocess(module: nn.Module) -> nn.Module:
    own = getattr(module, "preprocess", None)
    return own if isinstance(own, nn.Module) and hasattr(own, "fit") and hasattr(own, "collate") else Stack()


def _check_last(module: nn.Module, path: str) -> None:
    """Refuse what can be seen: a sequence that goes on after the output layer."""
    parent, _, name = path.rpartition(".")
    sequence = module.get_submodule(parent)
    if not path or not isinstance(sequence, nn.Sequential):
        return
    names = [child for child, _ in sequence.named_children()]
    for after in names[names.index(name) + 1 :]:
        if not isinstance(sequence.get_submodule(after), nn.Identity | nn.Dropout):
            raise ModelError(
                f"{type(sequence.get_submodule(after)).__name__} follows the output layer {path!r}",
                remedy="let the module return the output layer's scores, without a softmax",
                kind="model.output",
            )


def _head(layer: nn.Linear, labels_known: int, random_features: int, seed: int) -> Head:
    if not labels_known:
        return Head(RandomFourierFeatures(layer.in_features, random_features, seed))
    head = Head(Identity(layer.in_features), labels_known)
    with torch.no_grad():
        head.weight.copy_(layer.weight)
        if layer.bias is not None:
            head.bias.copy_(layer.bias)
    return head
