"""Exporting what updates of low rank have added, as an adapter that PEFT loads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from dripstone.checkout import checkout
from dripstone.core.errors import UsageError
from dripstone.core.low_rank import Factors
from dripstone.core.tensors import RawTensor
from dripstone.models.wrap import Headless
from dripstone.select.low_rank import is_conv1d
from dripstone.store.files import is_there, write_new
from dripstone.store.format import pack_tensors
from dripstone.store.repository import Repository
from dripstone.train.low_rank import lora_settings
from dripstone.update.lineage import ancestors

INNER = ("encoder", "network")
"""What backbones call a network of transformers' inside them."""

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Adapter(NamedTuple):
    """What was exported: on top of which version it goes, how many updates it holds, its layers and its bytes."""

    version: str
    base: str
    updates: int
    layers: int
    bytes: int


def export_adapter(repository: Repository, version: str, folder: Path) -> Adapter:
    """Write the products that led to a version as an adapter of PEFT's.

    Updates of low rank that follow one another become one adapter, whose rank is the sum of theirs: so it goes on top
    of the network as it was before the first of them, which is the pretrained one where nothing else has moved it. The
    output layer is no part of it.

    Parameters
    ----------
    repository : Repository
        The store.
    version : str
        Full version id.
    folder : Path
        It gets the two files that ``PeftModel.from_pretrained`` reads; made if it is not there.

    Raises
    ------
    UsageError
        ``usage.export`` if the version's network has come about otherwise, or the folder cannot be written to, or holds
        other files of these names.
    """
    products, base, updates = collect_products(repository, version)
    model = checkout(repository, version)
    prefix, network, task = _network(model, repository.manifest(version).task, products)
    layers = {name.removeprefix(prefix).removesuffix(".weight"): product for name, product in products.items()}
    tensors: dict[str, RawTensor] = {}
    for path, product in layers.items():
        for letter, matrix in zip("AB", _as_peft(network.get_submodule(path), product), strict=True):
            tensors[f"base_model.model.{_outer(network, task)}{path}.lora_{letter}.weight"] = matrix
    files = {
        WEIGHTS: pack_tensors(tensors),
        CONFIG: json.dumps(_config(network, task, layers), indent=2).encode() + b"\n",
    }
    _write(folder, files)
    return Adapter(version, base, updates, len(layers), sum(map(len, files.values())))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All of them; what an export that was cut short has left is taken for what it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {name for name in files if is_there(folder / name)}
        for name in there:
            if (folder / name).stat().st_size != len(files[name]) or (folder / name).read_bytes() != files[name]:
                raise UsageError(f"{folder / name} is there already", remedy="name another folder", kind="usage.export")
        for name in files.keys() - there:
            write_new(folder / name, files[name])
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written to ({error.strerror})", remedy="name another folder", kind="usage.export"
        ) from error


def collect_products(repository: Repository, version: str) -> tuple[dict[str, Factors], str, int]:
    """The products that led to a version, from which one on, and by how many updates.

    Raises
    ------
    UsageError
        ``usage.export`` if the version's own network has come about otherwise.
    """
    line = ancestors(repository, version)
    found: dict[str, list[Factors]] = {}
    base, updates = version, 0
    for child, parent in zip(reversed(line), reversed(line[:-1]), strict=False):
        moved = _moved(repository, child, parent)
        products = repository.read_factors(child)
        if not moved <= products.keys():
            break
        base, updates = parent, updates + bool(products)
        for name, product in products.items():
            found.setdefault(name, []).append(product)
    if not found:
        selection = repository.manifest(version).selection
        raise UsageError(
            f"version {version[:12]} has no product of low rank to export: it was made by {selection}",
            remedy="update with --select low_rank:8, and export that version",
            kind="usage.export",
        )
    return {name: _joined(products) for name, products in sorted(found.items())}, base, updates


def _moved(repository: Repository, child: str, parent: str) -> set[str]:
    """Tensors of the backbone that differ between a version and its parent."""
    old, new = repository.manifest(parent).tensors, repository.manifest(child).tensors
    names = {name for name in old.keys() | new.keys() if name.startswith("backbone.")}
    return {name for name in names if name not in old or name not in new or old[name].digest != new[name].digest}


def _joined(products: list[Factors]) -> Factors:
    """One product that is the sum of several."""
    return Factors(np.hstack([one.left for one in products]), np.vstack([one.right for one in products]))


def _network(model: nn.Module, task: str, products: Iterable[str]) -> tuple[str, nn.Module, str]:
    """Where the network is that an adapter goes on: one of transformers' in the backbone, or the backbone itself."""
    outer, backbone = "backbone.", model.get_submodule("backbone")
    if isinstance(backbone, Headless):
        outer, backbone = "backbone.module.", backbone.module
    children = {f"{outer}{name}.": child for name, child in backbone.named_children() if name in INNER}
    for inside, network in ({outer: backbone} | children).items():
        if hasattr(network, "base_model_prefix") and all(product.startswith(inside) for product in products):
            return inside, network, "CAUSAL_LM" if task == "causal_lm" else "FEATURE_EXTRACTION"
    return outer, backbone, ""


def _outer(network: nn.Module, task: str) -> str:
    """Where the network is inside the model that has an output layer, for whoever loads the adapter onto that."""
    return f"{network.base_model_prefix}." if task == "CAUSAL_LM" else ""


def _as_peft(layer: nn.Module, product: Factors) -> tuple[RawTensor, RawTensor]:
    """``lora_A`` and ``lora_B`` of a layer."""
    first, second = product.right, product.left
    if is_conv1d(layer):
        first, second = product.left.T, product.right.T
    shapes: list[tuple[int, ...]] = [first.shape, second.shape]
    if isinstance(layer, nn.Conv2d):
        shapes = [(len(first), *layer.weight.shape[1:]), (*second.shape, 1, 1)]
    raw = [
        RawTensor("F32", shape, np.ascontiguousarray(one, "<f4").tobytes())
        for one, shape in zip((first, second), shapes, strict=True)
    ]
    return raw[0], raw[1]


def _config(network: nn.Module, task: str, layers: Mapping[str, Factors]) -> dict[str, Any]:
    """What PEFT has to know."""
    outer = _outer(network, task)
    return {
        "peft_type": "LORA",
        "task_type": task or None,
        "base_model_name_or_path": getattr(getattr(network, "config", None), "_name_or_path", None) or None,
        **lora_settings({outer + path: len(product.right) for path, product in layers.items()}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": all(is_conv1d(network.get_submodule(path)) for path in layers),
        "inference_mode": True,
    }
