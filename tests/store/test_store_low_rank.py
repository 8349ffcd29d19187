"""Tensors as their base and a product of narrow matrices."""

import numpy as np
import pytest
from store_samples import floats, nudged, write

from dripstone.core.errors import StoreError
from dripstone.core.low_rank import Factors, add_product
from dripstone.core.tensors import RawTensor
from dripstone.store.encoding import MAX_DEPTH, decode, describe, encode
from dripstone.store.low_rank import pack_factors, unpack_factors
from dripstone.store.planes import deflate
from dripstone.store.repository import Repository

OBJECT, BASE = "ab" * 32, "cd" * 32


def product(rows: int, columns: int, rank: int, seed: int = 0) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(
        rng.standard_normal((rows, rank), dtype="f4") * 0.1, rng.standard_normal((rank, columns), dtype="f4") * 0.1
    )


def base_of(dtype: str, *shape: int) -> RawTensor:
    values = np.random.default_rng(1).standard_normal(shape).astype("f4")
    if dtype == "BF16":
        return RawTensor(dtype, shape, (values.view("u4") >> 16).astype("<u2").tobytes())
    return RawTensor(dtype, shape, values.astype({"F64": "f8", "F32": "f4", "F16": "f2"}[dtype]).tobytes())


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(40, 30), (40, 3, 5, 2)])
def test_a_product_is_stored_as_its_factors(dtype, shape):
    base, factors = base_of(dtype, *shape), product(40, 30, 2)
    raw = add_product(base, factors)
    encoded = encode(raw, base, 4, factors)
    assert (encoded.encoding, encoded.depth) == ("low-rank", 5)
    assert len(encoded.stored.data) < 4 * 2 * 70 * 1.05 + 64
    back = decode("w", describe(raw, encoded, OBJECT, BASE), encoded.stored, base)
    assert back.data == raw.data


def test_what_is_not_to_the_bit_the_product_is_stored_otherwise():
    base, factors = base_of("F32", 40, 30), product(40, 30, 2)
    raw = add_product(base, factors)
    others = [
        (nudged(raw, 1), base, factors),
        (raw, base, product(40, 30, 2, seed=3)),
        (raw, base, product(30, 40, 2)),
        (raw, base, Factors(np.zeros((40, 0), "f4"), np.zeros((0, 30), "f4"))),
        (add_product(base, product(40, 30, 31)), base, product(40, 30, 31)),
    ]
    for one in others:
        assert encode(*one[:2], 0, one[2]).encoding != "low-rank"
    assert encode(raw, base, MAX_DEPTH, factors).encoding in ("raw", "zstd")
    assert encode(raw, None, 0, factors).encoding in ("raw", "zstd")


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (np.zeros(70 * 4 * 31, np.uint8), "would inflate to 8,680 bytes where at most 8,400 belong"),
        (np.zeros(70 * 4 + 4, np.uint8), "no factors of 40 by 30"),
        (np.zeros(0, np.uint8), "no factors of 40 by 30"),
    ],
)
def test_factors_of_another_size_are_refused(plain, words):
    base, factors = base_of("F32", 40, 30), product(40, 30, 2)
    raw = add_product(base, factors)
    entry = describe(raw, encode(raw, base, 0, factors), OBJECT, BASE)
    packed = deflate(plain, 4)
    with pytest.raises(StoreError, match=words) as caught:
        decode("w", entry, RawTensor("U8", (len(packed),), packed), base)
    assert caught.value.kind == "store.corrupt"


def test_other_factors_and_other_bases_are_refused():
    base, factors = base_of("F32", 40, 30), product(40, 30, 2)
    raw = add_product(base, factors)
    encoded = encode(raw, base, 0, factors)
    entry = describe(raw, encoded, OBJECT, BASE)
    other = pack_factors(product(40, 30, 2, seed=5))
    with pytest.raises(StoreError, match="does not have the digest"):
        decode("w", entry, RawTensor("U8", (len(other),), other), base)
    for wrong in (None, base._replace(dtype="I32"), base._replace(shape=(30, 40)), base_of("F16", 40, 30)):
        with pytest.raises(StoreError, match=r"no F32 base|no product to be added"):
            decode("w", entry, encoded.stored, wrong)


def test_numbers_that_are_not_finite_come_back():
    base = base_of("BF16", 8, 8)
    factors = product(8, 8, 1)
    factors.left[0, 0], factors.left[1, 0] = np.nan, 3e38
    factors.right[0, 3] = 3e38
    raw = add_product(base, factors)
    encoded = encode(raw, base, 0, factors)
    assert decode("w", describe(raw, encoded, OBJECT, BASE), encoded.stored, base).data == raw.data


def test_a_version_keeps_its_factors_even_where_it_is_a_snapshot(tmp_path):
    repository = Repository.create(tmp_path / "store")
    weight, bias = base_of("F32", 40, 30), floats(0, 40)
    version = write(repository, {"w": weight, "b": bias}).version
    for number in range(MAX_DEPTH + 1):
        factors = product(40, 30, 2, seed=number)
        weight = add_product(weight, factors)
        version = write(repository, {"w": weight}, version, factors={"w": factors}).version
        entry = repository.manifest(version).tensors["w"]
        assert (entry.encoding == "low-rank") == (number < MAX_DEPTH)
        kept = repository.read_factors(version)
        assert list(kept) == ["w"]
        assert all(np.array_equal(one, other) for one, other in zip(kept["w"], factors, strict=True))
    assert repository.read_tensors(version)["w"].data == weight.data
    assert list(repository.verify()) == []


def test_other_versions_have_no_factors(tmp_path):
    repository = Repository.create(tmp_path / "store")
    first = write(repository, {"w": base_of("F32", 40, 30)}).version
    second = write(repository, {"w": floats(3, 40, 30)}, first).version
    assert repository.read_factors(first) == repository.read_factors(second) == {}


def test_factors_come_back_in_float32():
    left, right = unpack_factors("it", pack_factors(product(5, 4, 3)), 5, 4)
    assert (left.dtype, right.dtype, left.shape, right.shape) == (np.float32, np.float32, (5, 3), (3, 4))
