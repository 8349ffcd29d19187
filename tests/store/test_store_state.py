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
        trusted_marks=floats(4, 2, 4),
        anchor="ef" * 32,
        replay=[row(3)],
        replay_seen=17,
        known=RawTensor("I64", (2,), bytes(range(16))),
        statistics={"gram": floats(1, 5, 5), "rows": floats(2, 3), "known": floats(3, 1)},
    )


def test_a_state_comes_back():
    assert decode_state(b"".join(encode_state(state()))) == state()
    assert encode_state(state()) == encode_state(state())


def test_a_state_without_features_or_statistics():
    nothing = {"trusted_features": None, "trusted_marks": None, "statistics": {}}
    bare = replace(state(), known=RawTensor("I64", (0,), b""), **nothing)
    assert decode_state(b"".join(encode_state(bare))) == bare


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
        {"trusted_marks": floats(0, 3, 4)},
        {"trusted_marks": floats(0, 2, 3)},
        {"trusted_marks": RawTensor("I32", (2, 4), bytes(32))},
        {"foreign": floats(0, 2)},
    ],
)
def test_what_is_no_state_is_a_store_error(change):
    tensors = unpack(b"".join(encode_state(state())))
    for name, raw in change.items():
        tensors.pop(name, None)
        if raw is not None:
            tensors[name] = raw
    with pytest.raises(StoreError) as caught:
        decode_state(pack_tensors(tensors))
    assert caught.value.kind == "store.corrupt"
