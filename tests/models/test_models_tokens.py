"""Texts to tokens and back: nothing is lost, nothing in a text is taken for a mark, a strange tokenizer is refused."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Exchange
from dripstone.core.fork import fork
from dripstone.models.tokens import Tokens

TEXTS = ["the cat sat on the mat", "the dog saw the cat", "Straße, naïve, 東京 \U0001f600"] * 20


@pytest.fixture(scope="module")
def pairs():
    tokens = Tokens(400, 32, "bpe")
    tokens.fit(TEXTS)
    return tokens


@given(text=st.text(max_size=40))
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_every_text_comes_back(pairs, kind, text):
    tokens = pairs if kind == "bpe" else Tokens(258, 32, "bytes")
    ids = tokens.encode([text])[0]
    assert all(0 <= token < tokens.end for token in ids)
    assert tokens.decode(ids) == text.encode("utf-8", "replace").decode()


def test_byte_pairs_are_fewer_than_bytes_and_the_same_every_time(pairs):
    again = Tokens(400, 32, "bpe")
    again.fit(TEXTS)
    assert torch.equal(again.learned, pairs.learned)
    assert len(pairs.encode(["the cat saw the dog"])[0]) <= 6


def test_a_second_fit_changes_nothing(pairs):
    before = pairs.learned.clone()
    pairs.fit(["something else"] * 50)
    assert torch.equal(pairs.learned, before)


def test_byte_pairs_are_learned_from_replies_too():
    tokens = Tokens(300, 32, "bpe")
    tokens.fit([Exchange("x", "meowmeow")] * 20)
    assert len(tokens.encode(["meowmeow"])[0]) == 1


@pytest.mark.parametrize("text", ["<|endoftext|>", "</s>", "<|end|> <|reply|>", "[PAD]"])
def test_no_text_can_write_a_mark(pairs, text):
    assert all(token < pairs.end for token in pairs.encode([text])[0])
    assert pairs.decode(pairs.encode([text])[0]) == text


def test_a_fork_and_a_copy_read_with_the_same_tokens(pairs):
    assert fork(pairs, []).encode(TEXTS[:3]) == pairs.encode(TEXTS[:3])


def test_of_an_exchange_only_the_reply_is_asked_for():
    tokens = Tokens(258, 32, "bytes")
    windows = tokens.pack([Exchange("ab", "c")])
    assert windows.tokens.tolist() == [[tokens.end, 97, 98, tokens.reply, 99]]
    assert windows.targets.tolist() == [[-100, -100, -100, 99, tokens.end]]
    assert tokens.prompt("ab", reply=True) == windows.tokens[0, :4].tolist()


def test_an_exchange_longer_than_the_context_keeps_its_reply_whole():
    tokens = Tokens(258, 8, "bytes")
    windows = tokens.pack([Exchange("a" * 50, "xyz")])
    assert windows.tokens.shape == (1, 8)
    assert windows.targets[0, -4:].tolist() == [120, 121, 122, tokens.end]


def test_a_document_longer_than_the_context_is_read_in_pieces():
    tokens = Tokens(258, 8, "bytes")
    windows = tokens.pack(["a" * 50])
    assert int((windows.targets != -100).sum()) == 51


def test_an_empty_text_asks_for_its_end_alone():
    tokens = Tokens(258, 8, "bytes")
    assert tokens.pack([""]).targets.tolist() == [[tokens.end]]


def test_half_a_character_is_read_as_a_question_mark():
    assert Tokens(258, 8, "bytes").encode(["a\ud800"]) == [[97, 63]]


def test_what_is_no_text_is_named():
    with pytest.raises(DataError, match="row 1 is of type ndarray"):
        Tokens(258, 8, "bytes").pack(["a", np.zeros(3)])
    with pytest.raises(DataError, match="no rows"):
        Tokens(258, 8, "bytes").pack([])


def test_before_the_first_fit_there_are_no_byte_pairs():
    with pytest.raises(ModelError, match="learned no tokens yet"):
        Tokens(400, 8, "bpe").encode(["a"])


def test_few_texts_give_fewer_tokens_than_there_is_room_for():
    tokens = Tokens(4000, 32, "bpe")
    tokens.fit(["ab"])
    assert tokens.decode(tokens.encode(["abc"])[0]) == "abc"


@pytest.mark.parametrize(
    ("vocabulary", "context", "kind"),
    [(257, 8, "bpe"), (300, 8, "bytes"), (2**21, 8, "bpe"), (300, 1, "bpe"), (300, 8, "words")],
)
def test_sizes_that_do_not_fit_are_refused(vocabulary, context, kind):
    with pytest.raises(ModelError):
        Tokens(vocabulary, context, kind)


def spoilt(pairs, change):
    tree = json.loads(pairs.learned.numpy().tobytes())
    change(tree)
    tokens = Tokens(400, 32, "bpe")
    tokens.learned = torch.from_numpy(np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8).copy())
    return tokens


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(pairs):
    tokens = spoilt(pairs, lambda tree: tree["model"]["vocab"].update({"zzz": 398}))
    with pytest.raises(ModelError, match="has a token 398, the model has room for 398"):
        tokens.encode(["a"])


def test_marks_that_somebody_wrote_into_a_tokenizer_are_not_read(pairs):
    mark = {"id": 5, "content": "cat", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokens = spoilt(pairs, lambda tree: tree["added_tokens"].append({**mark, "special": True}))
    assert tokens.encode(["the cat"]) == pairs.encode(["the cat"])


@pytest.mark.parametrize("data", [b"{}", b"no json", b"[1]", b'{"version":"1.0","model":3}'])
def test_what_is_no_tokenizer_is_refused(data):
    tokens = Tokens(400, 32, "bpe")
    tokens.learned = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    with pytest.raises(ModelError, match="cannot be read"):
        tokens.encode(["a"])
