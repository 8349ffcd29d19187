"""Few elements that differ, and the gaps between them."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import floats

from dripstone.core.errors import StoreError
from dripstone.core.tensors import RawTensor
from dripstone.store.encoding import MAX_DEPTH, decode, describe, encode
from dripstone.store.planes import deflate
from dripstone.store.sparse import FEWEST, apply_sparse, pack_sparse

OBJECT, BASE = "ab" * 32, "cd" * 32


def changed(base: RawTensor, share: float, seed: int = 0) -> RawTensor:
    """The tensor with a share of its numbers a thousandth larger or smaller."""
    rng = np.random.default_rng(seed)
    values = np.frombuffer(base.data, "<f4").copy()
    places = rng.choice(len(values), round(share * len(values)), replace=False)
    values[places] *= 1 + 1e-3 * rng.standard_normal(len(places)).astype("f4")
    return base._replace(data=values.tobytes())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 300), st.data())
def test_what_is_packed_comes_back(width, elements, data):
    most = elements // FEWEST
    places = data.draw(st.lists(st.integers(0, max(elements - 1, 0)), max_size=most + 2, unique=True))
    difference = np.zeros((elements, width), np.uint8)
    for place in places[:elements]:
        difference[place, place % width] = 1 + place % 255
    packed = pack_sparse(difference.reshape(-1), width)
    count = int(difference.any(axis=1).sum())
    assert (packed is None) == (count == 0 or count * FEWEST > elements)
    if packed is not None:
        base = np.arange(elements * width, dtype=np.uint64).astype(np.uint8)
        back = np.frombuffer(apply_sparse("it", packed, base, width), np.uint8)
        assert np.array_equal(back, base ^ difference.reshape(-1))


@pytest.mark.parametrize(("share", "most"), [(0.001, 1.25), (0.01, 1.15), (0.1, 1.15)])
def test_places_take_little_more_than_their_entropy(share, most):
    base = floats(0, 1000, 1000)
    raw = changed(base, share)
    encoded = encode(raw, base, 0)
    assert encoded.encoding == "sparse-zstd"
    assert decode("t", describe(raw, encoded, OBJECT, BASE), encoded.stored, base) == raw
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) / 8 * 1_000_000
    assert len(encoded.stored.data) <= 1.1 * (entropy + share * 4_000_000)
    # The same values at places that need no telling.
    values = np.frombuffer(raw.data, np.uint8).reshape(-1, 4) ^ np.frombuffer(base.data, np.uint8).reshape(-1, 4)
    alone = len(deflate(values[values.any(axis=1)].reshape(-1), 4))
    assert len(encoded.stored.data) - alone <= most * entropy


def test_many_changes_and_none_are_stored_otherwise():
    base = floats(0, 100, 100)
    assert encode(changed(base, 0.2), base, 0).encoding == "xor-zstd"
    assert encode(base, base, 0).encoding == "xor-zstd"
    assert encode(changed(base, 0.01), base, MAX_DEPTH).encoding in ("raw", "zstd")
    assert encode(changed(base, 0.01), base, 3).depth == 4


def test_rows_that_are_new_are_a_delta_against_fewer():
    base = floats(0, 100, 40)
    raw = RawTensor("F32", (103, 40), bytes(base.data) + floats(1, 3, 40).data)
    encoded = encode(raw, base, 0)
    assert encoded.encoding == "sparse-zstd"
    assert decode("t", describe(raw, encoded, OBJECT, BASE), encoded.stored, base) == raw


def hostile(gaps, width=4, values=None):
    columns = np.zeros((len(gaps), 4 + width), np.uint8)
    columns[:, :4] = np.array(gaps, "<u4").view(np.uint8).reshape(-1, 4)
    columns[:, 4:] = 1
    return deflate(columns.reshape(-1), 4 + width)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (hostile([800]), "changes element 800 of 800"),
        (hostile([2**32 - 1] * 9), "changes element"),
        (hostile([0] * 101), "would inflate to 808 bytes where at most 800 belong"),
        (hostile([0, 0], width=3), "no elements of 4 bytes"),
        (b"nothing", "cannot be decompressed|would inflate"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_used(packed, words):
    base = floats(0, 800)
    raw = changed(base, 0.01)
    entry = describe(raw, encode(raw, base, 0), OBJECT, BASE)
    with pytest.raises(StoreError, match=words) as caught:
        decode("w", entry, RawTensor("U8", (len(packed),), packed), base)
    assert caught.value.kind == "store.corrupt"


def test_a_base_of_another_kind_is_refused():
    base = floats(0, 800)
    raw = changed(base, 0.01)
    encoded = encode(raw, base, 0)
    entry = describe(raw, encoded, OBJECT, BASE)
    for wrong in (None, base._replace(dtype="I32"), floats(1, 800)):
        with pytest.raises(StoreError, match=r"no F32 base|does not have the digest"):
            decode("w", entry, encoded.stored, wrong)
    with pytest.raises(StoreError, match="restore"):
        decode("w", msgspec.structs.replace(entry, encoding="xor-zstd"), encoded.stored, base)
