"""The folder ``versions``: manifests, and the tensors they lead to through the chain of deltas."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from dripstone.core.errors import UsageError
from dripstone.core.low_rank import Factors
from dripstone.core.records import Manifest, TensorEntry
from dripstone.core.tensors import RawTensor
from dripstone.store.checks import corrupt, is_hash, sha256
from dripstone.store.encoding import decode, describe, encode
from dripstone.store.files import is_there, list_names, read_bounded, write_new
from dripstone.store.format import MAX_PAYLOAD_BYTES, digest, pack_parts, unpack, version_id
from dripstone.store.low_rank import pack_factors, unpack_factors
from dripstone.store.manifest import MAX_MANIFEST_BYTES, decode_manifest, encode_manifest
from dripstone.store.objects import Objects

BESIDE = "#low-rank"
"""After a tensor's name in a payload: the product that was added to it, where it is stored otherwise."""


class Versions:
    """Versions by id.

    Parameters
    ----------
    folder : Path
        Holds a folder for each version, with its ``manifest.json``.
    objects : Objects
        Where the payloads are.
    """

    def __init__(self, folder: Path, objects: Objects) -> None:
        self.folder = folder
        self.objects = objects

    def ids(self) -> list[str]:
        """Ids of all versions, sorted. A folder without a manifest is what a killed writer left."""
        names = list_names(self.folder)
        return [name for name in names if is_hash(name) and is_there(self.folder / name / "manifest.json")]

    def folder_of(self, version: str) -> Path:
        """Where a version's files are. The id is checked first, so that it cannot lead out of the folder."""
        if not is_hash(version):
            raise unknown_version(version, "is no full id")
        return self.folder / version

    def manifest(self, version: str) -> Manifest:
        """The checked manifest of a version."""
        path = self.folder_of(version) / "manifest.json"
        return decode_manifest(read_bounded(path, MAX_MANIFEST_BYTES), version)

    def write_manifest(self, manifest: Manifest, collected: Container[str]) -> tuple[str, int]:
        """Store a manifest, and return the version's id and the bytes of the file.

        What is trained again to the very bits of a version that was collected, of rows that have come back, is another
        version: its page is another one.
        """
        text = encode_manifest(manifest)
        while (version := version_id(manifest)) in collected:
            manifest = msgspec.structs.replace(manifest, data=sha256(manifest.data.encode()))
            text = encode_manifest(manifest)
        try:
            write_new(self.folder_of(version) / "manifest.json", text)
        except FileExistsError:
            self.manifest(version)  # the same content, possibly encoded otherwise: fine if it verifies
        return version, len(text)

    def read_tensors(self, version: str, names: Iterable[str] | None = None) -> dict[str, RawTensor]:
        """Plain bytes of the named tensors, or of all."""
        return dict(self.each_tensor(version, names))

    def each_tensor(self, version: str, names: Iterable[str] | None = None) -> Iterator[tuple[str, RawTensor]]:
        """The same, one at a time: of a large version they take as much memory as its model."""
        manifest = self.manifest(version)
        wanted = list(manifest.tensors) if names is None else list(names)
        if unknown := [name for name in wanted if name not in manifest.tensors]:
            raise UsageError(
                f"version {version[:12]} has no tensor {unknown[0]!r}", remedy="name one of its manifest's tensors"
            )
        return self._decode({name: manifest.tensors[name] for name in wanted})

    def write_tensors(
        self, parent: str | None, tensors: Mapping[str, RawTensor], factors: Mapping[str, Factors]
    ) -> tuple[dict[str, TensorEntry], int]:
        """Store what differs from the parent, and return the entries of all tensors and the bytes of the payload.

        ``factors`` are products that were added to some; where a tensor is stored otherwise, they lie beside it.
        """
        old = self.manifest(parent).tensors if parent is not None else {}
        changed = {name: raw for name, raw in tensors.items() if name not in old or not _is_same(old[name], raw)}
        if not changed:
            return dict(old), 0
        known = {name: old[name] for name in changed if name in old}
        encoded = {name: encode(raw, None, 0) for name, raw in changed.items() if name not in known}
        for name, base in self._decode(known):  # one at a time: together they are as large as the model
            encoded[name] = encode(changed[name], base, known[name].depth, factors.get(name))
        stored = {name: item.stored for name, item in encoded.items()}
        for name in changed.keys() & factors.keys():
            if encoded[name].encoding != "low-rank":
                packed = pack_factors(factors[name])
                stored[name + BESIDE] = RawTensor("U8", (len(packed),), packed)
        payload = pack_parts(stored)
        place = self.objects.put(*payload)
        new = {name: describe(raw, encoded[name], place, parent) for name, raw in changed.items()}
        return {**old, **new}, sum(len(part) for part in payload)

    def read_factors(self, version: str) -> dict[str, Factors]:
        """The products that a version added to tensors of its parent, by tensor."""
        manifest = self.manifest(version)
        old = self.manifest(manifest.parent).tensors if manifest.parent is not None else {}
        by_object: dict[str, list[str]] = {}
        for name, entry in manifest.tensors.items():
            if entry != old.get(name):
                by_object.setdefault(entry.object, []).append(name)
        found = {}
        for place, names in by_object.items():
            stored = unpack(self.objects.get(place, MAX_PAYLOAD_BYTES))
            for name in names:
                entry = manifest.tensors[name]
                row = stored.get(name if entry.encoding == "low-rank" else name + BESIDE)
                if row is not None and entry.shape:
                    what = f"the product of {name!r} in object {place[:12]}"
                    found[name] = unpack_factors(what, row.data, entry.shape[0], math.prod(entry.shape[1:]))
        return dict(sorted(found.items()))

    def _decode(self, entries: Mapping[str, TensorEntry]) -> Iterator[tuple[str, RawTensor]]:
        """Tensors of one version. Depth falls by one at each base, so no chain is longer than its first entry says."""
        by_base: dict[str, list[str]] = {}
        by_object: dict[str, list[str]] = {}
        for name, entry in entries.items():
            by_object.setdefault(entry.object, []).append(name)
            if entry.base is not None:
                by_base.setdefault(entry.base, []).append(name)
        deltas: dict[str, RawTensor] = {}
        for place, names in by_object.items():
            for name, stored in unpack(self.objects.get(place, MAX_PAYLOAD_BYTES), names).items():
                if entries[name].base is None:
                    yield name, decode(name, entries[name], stored, None)
                else:
                    deltas[name] = stored
        for base, names in by_base.items():
            for name, raw in self._decode(self._base_entries(base, {name: entries[name] for name in names})):
                yield name, decode(name, entries[name], deltas.pop(name), raw)

    def _base_entries(self, base: str, entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
        old = self.manifest(base).tensors
        for name, entry in entries.items():
            if name not in old or old[name].depth != entry.depth - 1:
                raise corrupt(f"tensor {name!r} is a delta against version {base[:12]}, which does not fit under it")
        return {name: old[name] for name in entries}


def unknown_version(text: str, why: str) -> UsageError:
    """The error for what names no version."""
    return UsageError(f"{text!r} {why}", remedy="see 'dripstone log' for the versions", kind="usage.version")


def _is_same(entry: TensorEntry, raw: RawTensor) -> bool:
    return (entry.dtype, tuple(entry.shape)) == (raw.dtype, tuple(raw.shape)) and entry.digest == digest(raw)
