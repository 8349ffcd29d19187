import msgspec
import pytest
import zstandard

from dripstone.core.errors import StoreError, UsageError
from dripstone.store.checks import inflate, is_hash, parse, to_json


@pytest.mark.parametrize("text", ["", "AB" * 32, "a" * 63, "a" * 65, "a" * 64 + "\n", "../" + "a" * 61, "é" * 64])
def test_only_64_lower_case_digits_are_a_hash(text):
    assert not is_hash(text)


@pytest.mark.parametrize("data", [b"", b"{", b'"\xff"', b"[" * 100_000, b'{"a": ' * 5000, b"9" * 10_000])
def test_hostile_json_is_a_store_error(data):
    decoder = msgspec.json.Decoder(dict[str, object] | list | str | int)
    with pytest.raises(StoreError, match="the thing cannot be read") as caught:
        parse(decoder.decode, data, "the thing")
    assert caught.value.kind == "store.corrupt"


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object(), {"a": 1}])
def test_what_json_cannot_hold_is_refused_on_writing(value):
    with pytest.raises(UsageError, match="the thing cannot be stored"):
        to_json(value, msgspec.json.Decoder(float | str).decode, "the thing", 100)


def test_what_is_too_long_is_refused_on_writing():
    with pytest.raises(UsageError, match="202 bytes, more than 100"):
        to_json("x" * 200, msgspec.json.Decoder(str).decode, "the thing", 100)


def frames() -> dict[str, bytes]:
    whole = zstandard.compress(b"x" * 1000)
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    return {
        "cut": whole[:-3],
        "flipped": whole[:8] + bytes([whole[8] ^ 255]) + whole[9:],
        "unsized": unsized,
        "followed by more": whole + whole,
        "no frame": b"hello world, hello world",
        "empty": b"",
    }


@pytest.mark.parametrize("name", frames())
def test_damaged_frames_are_store_errors(name):
    with pytest.raises(StoreError) as caught:
        inflate(frames()[name], "the thing", size=1000, limit=10_000)
    assert caught.value.kind == "store.corrupt"
    assert "the thing" in str(caught.value)


def test_a_bomb_is_refused_before_it_inflates():
    bomb = zstandard.compress(bytes(50_000_000))
    with pytest.raises(StoreError, match="would inflate to 50,000,000 bytes"):
        inflate(bomb, "the thing", limit=1_000_000)


def test_an_empty_frame_is_fine():
    assert inflate(zstandard.compress(b""), "the thing", limit=0) == b""
