from dataclasses import replace

import pytest
from store_samples import floats, row

from dripstone.core.errors import StoreError
from dripstone.core.tensors import RawTensor
from dripstone.store.format import pack_tensors, unpack
from dripstone.store.state import TrainingState, decode_state, encode_state

V = "ab" * 32


def state():
    return TrainingState(
        version=V,
        backbone="cd" * 32,
        trusted=[row(1, "held_out"), row(2, "held_out")],
        trusted_features=floats(0, 2, 5),
        replay=[row(3)],
        replay_seen=17,
        known=RawTensor("I64", (2,), bytes(range(16))),
        statistics={"gram": floats(1, 5, 5), "rows": floats(2, 3), "known": floats(3, 1)},
    )


def test_a_state_comes_back():
    assert decode_state(encode_state(state())) == state()
    assert encode_state(state()) == encode_state(state())


def test_a_state_without_features_or_statistics():
    bare = replace(state(), trusted_features=None, statistics={}, known=RawTensor("I64", (0,), b""))
    assert decode_state(encode_state(bare)) == bare


@pytest.mark.parametrize(
    "change",
    [
        {"rows": None},
        {"known": None},
        {"known": floats(0, 2)},
        {"known": RawTensor("I64", (1, 1), bytes(8))},
        {"rows": RawTensor("U8", (3,), b"abc")},
        {"trusted_features": floats(0, 3, 5)},
        {"trusted_features": floats(0, 2)},
        {"foreign": floats(0, 2)},
    ],
)
def test_what_is_no_state_is_a_store_error(change):
    tensors = unpack(encode_state(state()))
    for name, raw in change.items():
        tensors.pop(name, None)
        if raw is not None:
            tensors[name] = raw
    with pytest.raises(StoreError) as caught:
        decode_state(pack_tensors(tensors))
    assert caught.value.kind == "store.corrupt"
