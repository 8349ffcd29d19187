"""Hostile and damaged stores: each names the thing and the remedy, and never raises anything but StoreError."""

import json
import os
import random
import shutil

import msgspec
import numpy as np
import pytest
import zstandard

from certificate_samples import first
from dripstone.core.errors import DripstoneError, StoreError
from dripstone.core.records import LogEntry, Manifest, Spec
from dripstone.core.tensors import RawTensor
from dripstone.store.checks import sha256
from dripstone.store.encoding import describe, encode
from dripstone.store.format import merkle_root, pack_tensors, unpack, version_id
from dripstone.store.ledger import Book, Page, PageRow
from dripstone.store.repository import Repository
from dripstone.store.state import decode_state


def noise(seed, size=4096):
    return RawTensor("U8", (size,), np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes())


@pytest.fixture
def repository(tmp_path):
    repository = Repository.create(tmp_path / "store")
    tensors = {"body": noise(0), "head": RawTensor("F32", (100, 10), bytes(4000))}
    version = write(repository, tensors, assets={"vocab.txt": b"hello"})
    row = PageRow("1", "hello", "a", 1.0, None, None, "", "train")
    page, book = repository.write_page(Page(None, version, [row])), repository.write_book(Book())
    name = repository.write_certificate(first(repository, version))
    entry = LogEntry(1, version, "init", "created", "n1", "", "promoted", version, page, book, name, name)
    repository.log.append(entry)
    return repository


def write(repository, tensors, parent=None, **changes):
    fields = {"spec": Spec("m:f"), "assets": {}, "labels": ["a", 7], "task": "classification"}
    fields |= {"parent": parent, "selection": "full", "data": "", "tensors": tensors}
    return repository.write_version(**(fields | changes)).version


def live(repository):
    return repository.log.head().version


def object_path(repository, name="body"):
    return repository.objects.path(repository.manifest(live(repository)).tensors[name].object)


def manifest_path(repository, version=None):
    return repository.path / "versions" / (version or live(repository)) / "manifest.json"


def refused(repository, read, *words):
    """The read fails with a store error that names the words and a remedy; verify says so, too."""
    with pytest.raises(StoreError) as caught:
        read()
    assert caught.value.remedy
    assert caught.value.kind.startswith("store.")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert list(repository.verify())


def read_live(repository):
    return lambda: repository.read_tensors(live(repository))


def plant(repository, manifest):
    """A manifest that is true to its id, whatever it says."""
    version = version_id(manifest)
    manifest_path(repository, version).parent.mkdir(parents=True, exist_ok=True)
    manifest_path(repository, version).write_bytes(msgspec.json.encode(manifest))
    return version


def planted_entry(repository, **changes):
    """A version whose tensor "head" is described otherwise than it should be."""
    manifest = repository.manifest(live(repository))
    tensors = dict(manifest.tensors)
    tensors["head"] = msgspec.structs.replace(tensors["head"], **changes)
    changed = msgspec.structs.replace(manifest, tensors=tensors, merkle=merkle_root(tensors), data="planted")
    return plant(repository, changed)


@pytest.mark.parametrize("keep", [0, 1, 7, 100, -1])
def test_truncated_object(repository, keep):
    path = object_path(repository)
    path.write_bytes(path.read_bytes()[:keep])
    refused(repository, read_live(repository), path.name, "restore that file from a copy")


@pytest.mark.parametrize("place", [0, 9, 60, -1])
def test_flipped_bit(repository, place):
    path = object_path(repository)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    refused(repository, read_live(repository), path.name, "is damaged")


def test_object_replaced_by_another_sound_one(repository):
    other = pack_tensors({"body": encode(noise(5), None, 0).stored, "head": encode(noise(6), None, 0).stored})
    object_path(repository).write_bytes(other)
    refused(repository, read_live(repository), "is damaged")


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m["labels"].reverse(),
        lambda m: m["spec"].update(factory="os:system"),
        lambda m: m["spec"].update(kwargs={"a": 1}),
        lambda m: m.update(task="regression"),
        lambda m: m.update(parent="ab" * 32),
        lambda m: m["tensors"]["head"].update(digest="ab" * 32),
        lambda m: m["tensors"].pop("head"),
        lambda m: m["tensors"].update(evil=m["tensors"]["head"]),
        lambda m: m["tensors"]["head"].update(dtype="I32"),
        lambda m: m["tensors"]["head"].update(shape=[10, 100]),
    ],
)
def test_edited_manifest(repository, edit):
    path = manifest_path(repository)
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree))
    refused(repository, lambda: repository.manifest(live(repository)), live(repository)[:12], "has been edited")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff" * 10, b"[" * 100_000, b'{"spec":' * 50_000, b"\0" * 100])
def test_manifest_that_is_none(repository, data):
    manifest_path(repository).write_bytes(data)
    refused(repository, read_live(repository), live(repository)[:12], "cannot be read")


def test_manifest_under_another_id(repository):
    other = "ab" * 32
    shutil.copytree(manifest_path(repository).parent, manifest_path(repository, other).parent)
    refused(repository, lambda: repository.manifest(other), "content has another id")


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/etc/passwd", "../training/holdout.key", "a" * 63 + "\0", ""]
)
@pytest.mark.parametrize("field", ["object", "digest", "base"])
def test_path_traversal_in_a_manifest(repository, field, name):
    extra = {"encoding": "xor-zstd", "depth": 1} if field == "base" else {}
    version = planted_entry(repository, **{field: name}, **extra)
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "64 hexadecimal digits")


def test_path_traversal_in_assets_and_log(repository):
    manifest = repository.manifest(live(repository))
    spec = msgspec.structs.replace(manifest.spec, assets={"vocab.txt": "../../training/holdout.key"})
    version = plant(repository, msgspec.structs.replace(manifest, spec=spec))
    refused(repository, lambda: repository.manifest(version), "vocab.txt")
    for read in (repository.read_asset, repository.read_page, repository.read_book):
        with pytest.raises(StoreError, match="64 hexadecimal digits"):
            read("../holdout.key")


@pytest.mark.parametrize("shape", [[2**62], [2**31, 2**31, 2**31], [-1], [-2, -500], [0, 2**62], [1] * 1000, [10**40]])
def test_gigantic_and_negative_shapes(repository, shape):
    version = planted_entry(repository, shape=shape)
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "claims to be F32")


def test_a_shape_that_the_payload_does_not_fill(repository):
    version = planted_entry(repository, shape=[2**20, 1000])
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "would inflate")


def test_zstd_bomb(repository):
    bomb = zstandard.compress(bytes(200_000_000))
    assert len(bomb) < 20_000
    place = repository.objects.put(pack_tensors({"head": RawTensor("U8", (len(bomb),), bomb)}))
    version = planted_entry(repository, object=place)
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "would inflate to 200,000,000 bytes")


def test_zstd_bomb_that_hides_its_size(repository):
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(200_000_000))
    place = repository.objects.put(pack_tensors({"head": RawTensor("U8", (len(bomb),), bomb)}))
    version = planted_entry(repository, object=place)
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "would inflate to -1 bytes")


def test_zstd_bomb_that_lies_about_its_size(repository):
    honest = bytearray(zstandard.compress(bytes(200_000_000)))
    place = honest.index((200_000_000).to_bytes(4, "little"))
    honest[place : place + 4] = (4000).to_bytes(4, "little")
    place = repository.objects.put(pack_tensors({"head": RawTensor("U8", (len(honest),), bytes(honest))}))
    version = planted_entry(repository, object=place)
    refused(repository, lambda: repository.read_tensors(version), "tensor 'head'", "cannot be decompressed")


@pytest.mark.parametrize("kind", ["ledger", "books"])
def test_zstd_bomb_in_the_ledger(repository, kind):
    bomb = zstandard.compress(bytes(2**28 + 1))
    name = sha256(bomb)
    (repository.path / "training" / kind / name).write_bytes(bomb)
    read = repository.read_page if kind == "ledger" else repository.read_book
    with pytest.raises(StoreError, match="would inflate"):
        read(name)


def chain(repository, length, *, cyclic):
    """Versions whose "head" is a delta against the next; ids do not depend on encodings, so they can form a cycle."""
    raw = RawTensor("F32", (100, 10), bytes(4000))
    stored = encode(raw, None, 0)  # zeros are also what differs between zeros and zeros
    place = repository.objects.put(pack_tensors({"head": stored.stored}))
    entry = describe(raw, stored, place, "0" * 64)
    fields = ("classification", ["a"], None, "full")
    manifests = [
        Manifest(Spec("m:f"), *fields, data=str(i), merkle=merkle_root({"head": entry}), tensors={"head": entry})
        for i in range(length)
    ]
    ids = [version_id(manifest) for manifest in manifests]
    for index, manifest in enumerate(manifests):
        base = ids[(index + 1) % length] if cyclic or index + 1 < length else live(repository)
        depth = min(16, length - index)
        head = msgspec.structs.replace(entry, encoding="xor-zstd", base=base, depth=depth)
        plant(repository, msgspec.structs.replace(manifest, tensors={"head": head}))
    return ids


@pytest.mark.parametrize("length", [1, 2, 5, 16, 40])
def test_cyclic_base_chain(repository, length):
    first = chain(repository, length, cyclic=True)[0]
    refused(repository, lambda: repository.read_tensors(first), "tensor 'head'", "does not fit under it")


def test_deep_base_chain(repository):
    first = chain(repository, 40, cyclic=False)[0]
    refused(repository, lambda: repository.read_tensors(first), "tensor 'head'", "does not fit under it")


def test_base_that_is_not_there(repository):
    version = planted_entry(repository, encoding="xor-zstd", base="ab" * 32, depth=1)
    refused(repository, lambda: repository.read_tensors(version), "ab" * 32, "restore")


def safetensors_bytes(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def slot(begin, end, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


HOSTILE = {
    "empty": b"",
    "short": b"1234567",
    "no header": bytes(8),
    "endless header": b"\xff" * 8 + b"{}",
    "header beyond the file": (100).to_bytes(8, "little") + b"{}",
    "no JSON": safetensors_bytes(b"{nonsense"),
    "not UTF-8": safetensors_bytes(b'{"\xff":1}'),
    "deep JSON": safetensors_bytes(b"[" * 200_000),
    "deep JSON in a field": safetensors_bytes(b'{"head":{"dtype":' + b"[" * 200_000),
    "list": safetensors_bytes([]),
    "metadata": safetensors_bytes({"__metadata__": {"a": "b"}}),
    "foreign field": safetensors_bytes({"head": slot(0, 2) | {"x": 1}}, b"ab"),
    "negative offset": safetensors_bytes({"head": slot(-2, 0, [2])}, b"ab"),
    "reversed offsets": safetensors_bytes({"head": slot(2, 0, [2])}, b"ab"),
    "beyond the data": safetensors_bytes({"head": slot(0, 4)}, b"ab"),
    "gap in front": safetensors_bytes({"head": slot(1, 2)}, b"ab"),
    "gap at the end": safetensors_bytes({"head": slot(0, 1)}, b"ab"),
    "overlap": safetensors_bytes({"head": slot(0, 2), "body": slot(0, 2)}, b"ab"),
    "twice": safetensors_bytes(
        b'{"head":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"head":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
        b"ab",
    ),
    "wrong size": safetensors_bytes({"head": slot(0, 2, [3])}, b"ab"),
    "overflowing shape": safetensors_bytes({"head": slot(0, 2, [2**33, 2**33])}, b"ab"),
    "overflow to two": safetensors_bytes({"head": slot(0, 2, [2**63 + 1, 2])}, b"ab"),
    "negative shape": safetensors_bytes({"head": slot(0, 2, [-1, -2])}, b"ab"),
    "fractional shape": safetensors_bytes({"head": slot(0, 2, [2.5])}, b"ab"),
    "unknown dtype": safetensors_bytes({"head": slot(0, 2, dtype="F4")}, b"ab"),
    "three offsets": safetensors_bytes({"head": slot(0, 2) | {"data_offsets": [0, 1, 2]}}, b"ab"),
    "endless number": safetensors_bytes(
        b'{"head":{"dtype":"U8","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,1]}}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors_header(repository, name):
    place = repository.objects.put(HOSTILE[name])
    version = planted_entry(repository, object=place)
    refused(repository, lambda: repository.read_tensors(version), "payload", "restore")
    with pytest.raises(StoreError):
        decode_state(HOSTILE[name])


def test_random_damage_to_a_payload_never_escapes():
    whole = pack_tensors({"a": noise(0, 40), "b": RawTensor("F32", (2, 2), bytes(16))})
    generator = random.Random(0)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data) - 60)] = generator.randrange(256)
        try:
            unpack(bytes(data))
        except StoreError as error:
            assert error.kind == "store.corrupt"  # noqa: PT017 (some damage is to tensors, not to the header)


def test_log_hole(repository):
    live_folder = repository.path / "refs" / "live"
    shutil.copy(live_folder / "000001", live_folder / "000003")
    refused(repository, repository.log.head, "no entry 2", "restore")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\xfd",
        b'{"number":1,"version":"\xff"}',
        b"",
        b"null",
        b'{"number":1}',
        b"[" * 100_000,
        b'{"number":1e999}',
    ],
)
def test_log_entry_that_is_none(repository, data):
    (repository.path / "refs" / "live" / "000001").write_bytes(data)
    refused(repository, repository.log.head, "000001", "restore")


def test_log_entry_that_is_gigantic(repository):
    with open(repository.path / "refs" / "live" / "000001", "wb") as file:
        file.truncate(2**40)
    refused(repository, repository.log.head, "000001", "1,048,576")


def test_manifest_that_is_gigantic(repository):
    with open(manifest_path(repository), "wb") as file:
        file.truncate(2**40)
    with pytest.raises(StoreError, match="at most"):
        repository.manifest(repository.versions()[0])


def links(repository):
    head = repository.log.head()
    training = repository.path / "training"
    return {
        "object": (object_path(repository), read_live(repository)),
        "manifest": (manifest_path(repository), read_live(repository)),
        "entry": (repository.path / "refs" / "live" / "000001", repository.log.head),
        "page": (training / "ledger" / head.page, lambda: repository.read_page(head.page)),
        "book": (training / "books" / head.book, lambda: repository.read_book(head.book)),
        "key": (training / "holdout.key", lambda: repository.holdout_key),
    }


@pytest.mark.parametrize("name", ["object", "manifest", "entry", "page", "book", "key"])
@pytest.mark.parametrize("kind", ["outside", "dangling", "itself", "folder", "pipe"])
def test_links_and_special_files(repository, tmp_path, name, kind):
    path, read = links(repository)[name]
    outside = tmp_path / "outside"
    path.rename(outside)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"outside": outside, "dangling": tmp_path / "nowhere", "itself": path}[kind])
    if name in ("object", "manifest"):  # the log still says which version is live
        assert live(repository)
    refused(repository, read, str(path), "plain file")


def test_random_damage_to_any_file_never_escapes(repository):
    generator = random.Random(1)
    version = live(repository)
    head = repository.log.head()
    reads = [
        lambda: repository.log.head(),
        lambda: repository.read_tensors(version),
        lambda: repository.read_page(head.page),
        lambda: repository.read_book(head.book),
        lambda: repository.certificate_of(head),
        lambda: list(repository.verify()),
    ]
    for path in sorted(p for p in repository.path.rglob("*") if p.is_file() and p.name != "format"):
        whole = path.read_bytes()
        for _ in range(15):
            data = bytearray(whole)
            data[generator.randrange(len(data))] = generator.randrange(256)
            path.write_bytes(data[: generator.choice([len(data), generator.randrange(len(data))])])
            for read in reads:
                try:
                    read()
                except DripstoneError as error:
                    assert error.remedy  # noqa: PT017 (some damage leaves the file readable)
        path.write_bytes(whole)
    assert list(repository.verify()) == []
