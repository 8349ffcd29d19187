"""The manifest file of a version: written readable, believed only after every line of it was checked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dripstone.core.errors import ModelError
from dripstone.core.records import Manifest, TensorEntry
from dripstone.store.checks import corrupt, is_hash, parse
from dripstone.store.encoding import DELTAS, MAX_DEPTH, MAX_GROWN_DIMENSIONS
from dripstone.store.format import is_sane, merkle_root, version_id

VERSION_FORMATS = {
    "dripstone-version 1": ("raw", "zstd", "xor-zstd"),
    "dripstone-version 2": ("raw", "zstd", "xor-zstd", "grown-zstd"),
    "dripstone-version 3": ("raw", "zstd", "xor-zstd", "grown-zstd", "sparse-zstd", "low-rank"),
}
"""Which encodings each format knows; the oldest is written that knows all."""

MAX_MANIFEST_BYTES = 2**26

_MANIFEST = msgspec.json.Decoder(Manifest)


class _Format(msgspec.Struct):
    format: str = next(iter(VERSION_FORMATS))


_FORMAT = msgspec.json.Decoder(_Format)


def format_of(entries: Mapping[str, TensorEntry]) -> str:
    """The oldest format that can hold these tensors."""
    used = {entry.encoding for entry in entries.values()}
    return next(name for name, known in VERSION_FORMATS.items() if used <= set(known))


def encode_manifest(manifest: Manifest) -> bytes:
    """A manifest as JSON, the same bytes for the same manifest.

    Raises
    ------
    ModelError
        If it holds what JSON cannot (factory arguments that are objects, labels that are neither text nor numbers).
    """
    try:
        data = msgspec.json.encode(manifest, order="deterministic")
        same = version_id(_MANIFEST.decode(data)) == version_id(manifest)  # never store what no reader would accept
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError) as error:
        raise ModelError(
            f"the model's spec {manifest.spec.factory!r} or its labels cannot be stored ({error})",
            remedy="use factory arguments that are JSON, and labels that are text or 64-bit whole numbers",
            kind="model.spec",
        ) from error
    if not same or len(data) > MAX_MANIFEST_BYTES:
        raise ModelError(
            f"the model's spec {manifest.spec.factory!r} does not survive JSON, or is too large for it",
            remedy="use text as keys of factory arguments, and keep large things in assets",
            kind="model.spec",
        )
    return data


def decode_manifest(data: bytes, version: str) -> Manifest:
    """Read the manifest of a version and check that it is the one the id vouches for.

    Raises
    ------
    StoreError
        ``store.corrupt`` naming what does not fit.

    Examples
    --------
    >>> from dripstone.core.records import Spec
    >>> manifest = Manifest(Spec("m:f"), "classification", ["a"], None, "full", "", merkle_root({}), {})
    >>> decode_manifest(encode_manifest(manifest), version_id(manifest)) == manifest
    True
    """
    what = f"the manifest of version {version[:12]}"
    written = parse(_FORMAT.decode, data, what).format  # first: what else it says may be in no word that is known here
    if written not in VERSION_FORMATS:
        raise corrupt(
            f"{what} has the format {written!r}",
            remedy="open this store with the version of dripstone that wrote it",
        )
    manifest = parse(_MANIFEST.decode, data, what)
    if manifest.format != format_of(manifest.tensors):
        raise corrupt(f"{what} has the format {manifest.format!r}, and tensors of another")
    for name, entry in manifest.tensors.items():
        if problem := _entry_problem(entry):
            raise corrupt(f"{what}: tensor {name!r} {problem}")
    if bad := [name for name, asset in manifest.spec.assets.items() if not is_hash(asset)]:
        raise corrupt(f"{what}: asset {bad[0]!r} is not named by 64 hexadecimal digits")
    if manifest.parent is not None and not is_hash(manifest.parent):
        raise corrupt(f"{what}: its parent {manifest.parent!r} is not 64 hexadecimal digits")
    if merkle_root(manifest.tensors) != manifest.merkle:
        raise corrupt(f"{what} has been edited: its tensors do not have the Merkle root it names")
    if version_id(manifest) != version:
        raise corrupt(f"{what} has been edited: its content has another id")
    return manifest


def _entry_problem(entry: TensorEntry) -> str | None:
    if not is_sane(entry.dtype, entry.shape):
        return f"claims to be {entry.dtype} {entry.shape}"
    if not is_hash(entry.digest) or not is_hash(entry.object):
        return "names a digest or an object that is not 64 hexadecimal digits"
    if not 0 <= entry.depth <= MAX_DEPTH:
        return f"claims to be {entry.depth} deltas deep"
    if entry.encoding == "grown-zstd" and not 2 <= len(entry.shape) <= MAX_GROWN_DIMENSIONS:
        return f"is grown-zstd with the shape {entry.shape}"
    if (entry.encoding in DELTAS) != (entry.base is not None) or (entry.base is None) != (entry.depth == 0):
        return f"is {entry.encoding} with base {entry.base!r} and depth {entry.depth}"
    if entry.base is not None and not is_hash(entry.base):
        return f"has a base {entry.base!r} that is not 64 hexadecimal digits"
    return None
