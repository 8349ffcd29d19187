"""Layers whose rows have become wider: stored as what was added, read by nobody who does not know how."""

import base64

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import commit, entry, floats, nudged, write

from certificate_samples import judged
from dripstone.core.errors import StoreError
from dripstone.core.records import Manifest, Spec, TensorEntry
from dripstone.core.tensors import DTYPE_BYTES, RawTensor
from dripstone.store.checks import sha256
from dripstone.store.encoding import MAX_DEPTH, decode, describe, encode
from dripstone.store.format import merkle_root, pack_tensors, unpack, version_id
from dripstone.store.manifest import VERSION_FORMATS, decode_manifest, encode_manifest, format_of
from dripstone.store.repository import Repository

OBJECT, BASE = "ab" * 32, "cd" * 32


def widened(raw, *shape, seed=5):
    """The tensor in the corner of a larger one, whose other numbers are zero, or any."""
    width = DTYPE_BYTES[raw.dtype]
    whole = np.zeros((*shape, width), np.uint8)
    if seed is not None:
        whole[...] = np.random.default_rng(seed).integers(0, 256, whole.shape, np.uint8)
    whole[tuple(map(slice, raw.shape))] = np.frombuffer(raw.data, np.uint8).reshape(*raw.shape, width)
    return RawTensor(raw.dtype, shape, whole.tobytes())


def through(raw, base, depth=0):
    encoded = encode(raw, base, depth)
    stored = unpack(pack_tensors({"t": encoded.stored}))["t"]
    return encoded, decode("t", describe(raw, encoded, OBJECT, BASE), stored, base)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "I64", "U8"])
@pytest.mark.parametrize("shape", [(64, 80), (72, 80), (64, 65)])
def test_wider_rows_cost_what_was_added(dtype, shape):
    data = np.random.default_rng(0).integers(0, 256, 64 * 64 * DTYPE_BYTES[dtype], np.uint8).tobytes()
    base = RawTensor(dtype, (64, 64), data)
    raw = widened(base, *shape)
    encoded, back = through(raw, base, 3)
    assert back == raw
    assert (encoded.encoding, encoded.depth) == ("grown-zstd", 4)
    assert len(encoded.stored.data) < 1.1 * (len(raw.data) - len(base.data)) + 500


def test_columns_of_zeros_cost_next_to_nothing():
    base = floats(0, 96, 256)
    raw = widened(base, 96, 512, seed=None)
    assert len(through(raw, base)[0].stored.data) < 200


def test_new_rows_alone_are_stored_as_ever():
    base = floats(0, 64, 64)
    assert through(widened(base, 80, 64), base)[0].encoding == "xor-zstd"


sizes = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@given(sizes, sizes, st.sampled_from(["F32", "BOOL", "F16"]), st.booleans())
def test_any_shapes_come_back(old, new, dtype, zeros):
    width = DTYPE_BYTES[dtype]
    base = RawTensor(dtype, tuple(old), bytes(range(256)) * 100)
    base = base._replace(data=base.data[: int(np.prod(old)) * width])
    size = int(np.prod(new)) * width
    raw = RawTensor(dtype, tuple(new), bytes(size) if zeros else (base.data + bytes(size))[:size])
    assert through(raw, base)[1] == raw


def test_what_is_narrower_or_of_another_kind_is_no_growth():
    base = floats(0, 64, 64)
    raw = floats(1, 64, 64)
    for shape in ((32, 128), (4096,), (64, 64, 1), (128, 32)):
        assert through(raw._replace(shape=shape), base)[0].encoding != "grown-zstd"
    deep = (1,) * 7
    assert through(widened(raw._replace(shape=(*deep, 1, 4096)), *deep, 2, 4097), base)[0].encoding != "grown-zstd"


def test_the_chain_is_cut_here_too():
    base = floats(0, 64, 64)
    assert through(widened(base, 64, 65), base, MAX_DEPTH)[0].depth == 0


def test_a_payload_of_today_is_read_for_ever():
    base = RawTensor("I32", (2, 2), np.array([[1, 2], [3, 4]], "<i4").tobytes())
    raw = RawTensor("I32", (3, 4), np.array([[1, 2, 7, 0], [3, 4, 0, 0], [0, 0, 0, -9]], "<i4").tobytes())
    packed = base64.b64decode("KLUv/SAwpQAAQAAABwD3AP8ABAAvB4CNwcYZIAI=")
    stored = RawTensor("U8", (len(packed),), packed)
    made = TensorEntry("I32", [3, 4], sha256(raw.data), OBJECT, "grown-zstd", BASE, 1)
    assert decode("t", made, stored, base) == raw


@pytest.mark.parametrize("shape", [(64, 72), (65, 64), (64, 80, 1), (4096,), (60, 81), (64, 81)])
def test_a_base_that_does_not_fit_inside_is_refused(shape):
    base = floats(0, 64, 64)
    raw = widened(base, 64, 80)
    encoded = encode(raw, base, 0)
    other = floats(0, *shape)
    with pytest.raises(StoreError, match=r"tensor 't' in object abababababab ") as caught:
        decode("t", describe(raw, encoded, OBJECT, BASE), encoded.stored, other)
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize("base", [None, floats(0, 64, 64)._replace(dtype="I32")])
def test_without_its_base_it_is_refused(base):
    right = floats(0, 64, 64)
    raw = widened(right, 64, 80)
    encoded = encode(raw, right, 0)
    with pytest.raises(StoreError, match="has no F32 base"):
        decode("t", describe(raw, encoded, OBJECT, BASE), encoded.stored, base)


def manifest(encoding="grown-zstd", **changes):
    fields = {"base": None, "depth": 0} if encoding == "zstd" else {"base": BASE, "depth": 1}
    shape = changes.pop("shape", [2, 3])
    tensors = {"w": TensorEntry("F32", shape, OBJECT, OBJECT, encoding, **(fields | changes))}
    merkle = merkle_root(tensors)
    return Manifest(Spec("m:f"), "t", [], BASE, "s", "", merkle, tensors, format=format_of(tensors))


def read(made):
    return decode_manifest(msgspec.json.encode(made), version_id(made))


ENCODINGS = ("zstd", "xor-zstd", "grown-zstd", "sparse-zstd", "low-rank")


def test_the_oldest_format_is_written_that_knows_the_encodings():
    assert [manifest(encoding).format[-1] for encoding in ENCODINGS] == ["1", "1", "2", "3", "3"]
    for encoding in ENCODINGS:
        made = manifest(encoding)
        assert decode_manifest(encode_manifest(made), version_id(made)) == made


@pytest.mark.parametrize("encoding", ["xor-zstd", "grown-zstd", "sparse-zstd"])
def test_a_manifest_of_another_format_is_refused(encoding):
    made = manifest(encoding)
    for other in VERSION_FORMATS.keys() - {made.format}:
        with pytest.raises(StoreError, match="and tensors of another"):
            read(msgspec.structs.replace(made, format=other))


def test_a_format_to_come_is_named_before_its_words_are_looked_at():
    data = msgspec.json.encode(manifest()).replace(b"version 2", b"version 9").replace(b"grown-zstd", b"flying-zstd")
    with pytest.raises(StoreError, match=r"has the format 'dripstone-version 9'; open this store with the version"):
        decode_manifest(data, BASE)


@pytest.mark.parametrize(
    "changes", [{"base": None, "depth": 0}, {"base": None}, {"depth": 0}, {"shape": [3]}, {"shape": [1] * 9}]
)
def test_every_entry_is_checked(changes):
    with pytest.raises(StoreError, match="tensor 'w' is grown-zstd"):
        read(manifest(**changes))


@pytest.fixture
def repository(tmp_path):
    return Repository.create(tmp_path / "store")


def test_a_version_with_wider_rows_and_its_children(repository):
    down, head = floats(0, 32, 64), floats(1, 4, 32)
    root = write(repository, {"down": down, "head": head})
    wide = widened(down, 32, 96)
    grown = write(repository, {"down": wide, "new": floats(2, 8)}, root.version, spec=Spec("m:f", {"hidden": 96}))
    old, made = repository.manifest(root.version), repository.manifest(grown.version)
    assert [old.format, made.format] == list(VERSION_FORMATS)[:2]
    assert made.tensors["head"] == old.tensors["head"]
    assert made.spec.kwargs == {"hidden": 96}
    trained = write(repository, {"down": nudged(wide, 1)}, grown.version, spec=made.spec)
    assert repository.read_tensors(trained.version)["down"] == nudged(wide, 1)
    assert repository.manifest(trained.version).tensors["down"].depth == 2
    assert repository.read_tensors(root.version) == {"down": down, "head": head}
    assert list(repository.verify()) == []
    assert write(repository, {"down": wide, "new": floats(2, 8)}, root.version, spec=made.spec) == grown


class Store:
    """A store of two versions, and a third that was grown from the second."""

    def __init__(self, repository):
        self.repository = repository
        self.first = commit(repository, 1, {"body": floats(1, 16)})
        self.second = commit(repository, 2, {"body": floats(2, 16)}, self.first)
        self.third = write(repository, {"more": floats(3, 16)}, self.second).version

    def grow(self, version, parent, event="grow", source="champion", **changes):
        rules = {"source": source, "rules": None, "next_anchor": version}
        name = self.repository.write_certificate(judged(self.repository, version, parent, 3, **rules))
        head = self.repository.log.head()
        fields = {"event": event, "certificate": name, "book": head.book} | changes
        self.repository.log.append(entry(3, version, **fields))

    def problems(self):
        return "\n".join(self.repository.verify())


@pytest.fixture
def store(repository):
    return Store(repository)


def test_growth_by_the_champions_word_is_sound(store):
    store.grow(store.third, store.second)
    assert store.problems() == ""
    assert store.repository.certificate_of(store.repository.log.head()).source == "champion"


@pytest.mark.parametrize("source", ["person", "gate"])
def test_growth_by_another_word_is_not(store, source):
    certificate = judged(store.repository, store.third, store.second, 3, source=source)
    store.grow(store.third, store.second, certificate=store.repository.write_certificate(certificate))
    assert f"(grow) names a new certificate of source {source!r}" in store.problems()


@pytest.mark.parametrize("event", ["promote", "update", "revert", "data"])
def test_the_champions_word_is_good_for_growth_alone(store, event):
    store.grow(store.third, store.second, event=event)
    assert f"({event}) names a new certificate of source 'champion'" in store.problems()


def test_what_was_grown_from_another_version(store):
    version = write(store.repository, {"more": floats(3, 16)}, store.first).version
    store.grow(version, store.second)
    assert f"makes a version live that was not grown from {store.second}" in store.problems()
    assert "where version" not in store.problems()


def test_what_was_not_live_vouches_for_nothing(store):
    version = write(store.repository, {"more": floats(3, 16)}, store.first).version
    store.grow(version, store.first)
    assert f"compares with {store.first[:12]}, where version {store.second[:12]} was live" in store.problems()


def test_the_champions_word_is_no_judgement(store):
    certificate = judged(store.repository, store.third, store.second, 3, source="champion", rules=None)
    name = store.repository.write_certificate(certificate)
    head = store.repository.log.head()
    page = store.repository.log.entry(2).page
    fields = {"candidate": store.third, "judged": name, "certificate": name, "verdict": "promoted", "page": page}
    store.repository.log.append(entry(3, store.third, book=head.book, **fields))
    assert "names the word of a champion as the gate's judgement" in store.problems()


@pytest.mark.parametrize(
    "changes",
    [{"champion": None, "champion_merkle": None}, {"reason": " "}, {"verdict": "refused"}],
)
def test_the_champions_word_needs_a_champion_and_a_reason(store, changes):
    certificate = judged(store.repository, store.third, store.second, 3, source="champion", rules=None)
    with pytest.raises(StoreError, match=r"is of (source 'champion'|the champion)"):
        store.repository.write_certificate(msgspec.structs.replace(certificate, **changes))
