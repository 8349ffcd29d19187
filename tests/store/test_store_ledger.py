import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_samples import page, row

from dripstone.core.errors import DataError, StoreError
from dripstone.core.examples import Example
from dripstone.store import ledger
from dripstone.store.ledger import (
    Array,
    Book,
    Carried,
    Page,
    PageRow,
    PendingRow,
    QuarantineGroup,
    decode_book,
    decode_page,
    encode_book,
    encode_page,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    inputs=TEXT | ARRAYS,
    target=st.none() | TEXT | st.integers(-(2**63), 2**63 - 1),
    weight=st.floats(0, allow_infinity=False),
    time=st.none() | TEXT,
    slice=st.none() | TEXT,
    origin=TEXT,
)


@settings(max_examples=60, deadline=None)
@given(EXAMPLES, st.sampled_from(["train", "held_out", "rejected", "quarantined"]))
def test_every_example_comes_back(example, role):
    kept = PageRow.of(example, role, "why")
    (back,) = decode_page(encode_page(Page(None, None, [kept]))).rows
    assert back == kept
    again = back.example()
    for name in ("id", "target", "weight", "time", "slice", "origin"):
        assert getattr(again, name) == getattr(example, name)
    if isinstance(example.inputs, str):
        assert again.inputs == example.inputs
    else:
        assert again.inputs.dtype == np.float32
        assert again.inputs.shape == example.inputs.shape
        assert again.inputs.tobytes() == example.inputs.tobytes()
        assert again.inputs.flags.writeable


def test_a_page_keeps_what_it_received_and_carried():
    whole = Page("ab" * 32, "cd" * 32, [row(1), row(2, "held_out")], [Carried("ef" * 32, 3, "train")])
    assert decode_page(encode_page(whole)) == whole
    assert encode_page(whole) == encode_page(whole)


def test_a_book_keeps_what_waits():
    whole = Book(
        pending=[PendingRow("ab" * 32, 0, 4, row(1), admitted=True)],
        quarantined=[QuarantineGroup("cd" * 32, 4, "no sense", [1, 5])],
        tested=3,
        held_out=[b"12345678"],
    )
    assert decode_book(encode_book(whole)) == whole
    assert decode_book(encode_book(Book())) == Book()


@pytest.mark.parametrize(
    ("shape", "data"), [([2], b"1234"), ([-1], b""), ([0, 2**62], b""), ([1] * 33, b"1234"), ([2**40], b"1234")]
)
def test_an_array_must_have_the_bytes_of_its_shape(shape, data):
    with pytest.raises(ValueError):
        Array(shape, data)
    plain = msgspec.to_builtins(page(1), builtin_types=(bytes,))
    plain["rows"][0]["inputs"] = {"shape": shape, "data": data}
    with pytest.raises(StoreError, match="a ledger page cannot be read"):
        decode_page(zstandard.compress(msgspec.msgpack.encode(plain)))


@pytest.mark.parametrize(
    "plain",
    [b"", b"\xc1", b"\x93\x01", b"\x91" * 10_000, msgspec.msgpack.encode({"number": "one"}), b"\xdd\xff\xff\xff\xff"],
)
@pytest.mark.parametrize("decode", [decode_page, decode_book])
def test_what_is_no_page_or_book_is_a_store_error(plain, decode):
    with pytest.raises(StoreError) as caught:
        decode(zstandard.compress(plain))
    assert caught.value.kind == "store.corrupt"


def test_a_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(ledger, "MAX_PLAIN_BYTES", 1000)
    with pytest.raises(StoreError, match="would inflate"):
        decode_page(zstandard.compress(bytes(1001)))
    with pytest.raises(DataError, match="send fewer or smaller rows") as caught:
        encode_page(Page(None, None, [row(number) for number in range(50)]))
    assert caught.value.kind == "data.too_large"


@pytest.mark.parametrize("fields", [{"inputs": "\ud800"}, {"target": 2**70}, {"target": True}, {"target": [1.5]}])
def test_what_no_reader_would_accept_is_not_written(fields):
    example = Example(**({"id": "1", "inputs": "hello"} | fields))
    with pytest.raises(DataError) as caught:
        encode_page(Page(None, None, [PageRow.of(example, "train")]))
    assert caught.value.kind == "data.unstorable"


@pytest.mark.parametrize("target", [5.0, -0.0, 1e-300, 0.1 + 0.2, 5, "5"])
def test_a_target_comes_back_as_what_it_was(target):
    kept = PageRow.of(Example("1", "hello", target), "train")
    (again,) = decode_page(encode_page(Page(None, None, [kept]))).rows
    assert repr(again.target) == repr(target)
