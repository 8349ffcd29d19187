"""A language model reads texts as it would write them, wherever they are packed."""

import math

import pytest
import torch

from dripstone.core.errors import ModelError
from dripstone.core.examples import Exchange
from dripstone.core.fork import changed_tensors, fork, named_tensors
from dripstone.core.losses import IGNORED
from dripstone.models import build, decoder
from dripstone.models.factory import prepare
from dripstone.train.activation_cache import ActivationCache
from text_samples import stories, tiny

TEXTS = [row["text"] for row in stories(12, seed=1)]


def by_hand(model, tokens, first):
    """Mean loss of the tokens from ``first`` on, one text alone, no packing."""
    ids = torch.tensor([tokens])
    batch = {"tokens": ids[:, :-1], "segments": torch.zeros_like(ids[:, :-1])}
    scores = model(batch)[0].log_softmax(dim=1)
    losses = [-float(scores[place - 1, tokens[place]]) for place in range(first, len(tokens))]
    return sum(losses) / len(losses), len(losses)


def test_a_text_reads_as_it_does_alone():
    model = tiny()
    with torch.no_grad():
        read = model.read(TEXTS)
        for text, (count, loss, exact) in zip(TEXTS, read.tolist(), strict=True):
            tokens = [model.preprocess.end, *model.preprocess.encode([text])[0], model.preprocess.end]
            if len(tokens) - 1 <= model.preprocess.context:
                assert (loss, count) == (pytest.approx(by_hand(model, tokens, 1)[0], abs=1e-5), len(tokens) - 1)
            assert count == len(tokens) - 1
            assert exact == 0


def test_of_an_exchange_the_reply_is_read_after_its_prompt():
    model = tiny()
    tokens = [*model.preprocess.prompt("what?", reply=True), *b"yes", model.preprocess.end]
    with torch.no_grad():
        count, loss, _ = model.read(["other", Exchange("what?", "yes")])[1].tolist()
        expected, asked = by_hand(model, tokens, len(tokens) - 4)
    assert (count, asked) == (4, 4)
    assert loss == pytest.approx(expected, abs=1e-5)


def test_a_reply_is_exact_if_and_only_if_the_model_would_write_it():
    model = tiny()
    with torch.no_grad():
        written = model.preprocess.decode(model.generate(["ab"], reply=True, max_tokens=3)[0].tokens)
        row = model.generate(["ab"], reply=True, max_tokens=60)[0]
        assert model.read([Exchange("ab", "no such thing")])[0, 2] == 0
    # Make the reply end where the model ends it, or say that it never does.
    if row.ended:
        assert model.read([Exchange("ab", model.preprocess.decode(row.tokens))])[0, 2] == 1
    assert isinstance(written, str)


def test_large_vocabularies_are_measured_in_chunks(monkeypatch):
    model = tiny()
    with torch.no_grad():
        whole = model.read(TEXTS)
        monkeypatch.setattr("dripstone.models.language_model.LOGITS", 1)
        assert torch.allclose(model.read(TEXTS), whole, atol=1e-5)


def test_windows_of_several_groups_are_as_long_as_each_other():
    model = tiny()
    (first, asked), (second, _) = model.windows([TEXTS, ["ab"]])
    assert {window.shape for window in [*first, *second]} == {(2, 64)}
    assert asked.shape == (len(first), 64)
    assert int((asked != IGNORED).sum()) == sum(len(text) + 1 for text in TEXTS)


def test_the_output_layer_is_the_embedding_unless_it_is_told_apart():
    tied, apart = tiny(), tiny(tied=False)
    assert "head.weight" not in named_tensors(tied)
    assert "head.weight" in named_tensors(apart)
    twin = fork(tied, ["backbone.embedding.weight"])
    assert twin.head.weight is twin.backbone.embedding.weight
    with torch.no_grad():
        twin.head.weight.add_(1)
    assert list(changed_tensors(twin, tied)) == ["backbone.embedding.weight"]


def test_a_spec_rebuilds_the_module():
    model = tiny()
    again = build(model.spec, {}, classes=1)
    assert {name: value.shape for name, value in named_tensors(again).items()} == {
        name: value.shape for name, value in named_tensors(model).items()
    }
    assert prepare(model, None, 0) is model


def test_the_activation_cache_skips_frozen_blocks_of_packed_windows():
    model = tiny(depth=3)
    names = [name for name, _ in model.named_parameters() if name.startswith(("backbone.blocks.2", "backbone.norm"))]
    twin = fork(model, names)
    windows, targets = twin.windows([TEXTS])[0]
    cache = ActivationCache(twin, names)
    list(cache.fill(windows))
    assert (cache.cut, cache.reason) == (2, None)
    batch = twin.collate(windows)
    whole = twin(batch)
    with cache.replaying(windows, batch):
        skipped = twin(batch)
    kept = targets != IGNORED
    assert torch.allclose(skipped[kept], whole[kept], atol=1e-5)


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.0, "top_p": 0.9}, {"beams": 3}])
def test_every_way_of_writing_stays_within_the_limits(chosen):
    model = tiny()
    rows = model.generate(["the cat", "", "x" * 500], max_tokens=5, **chosen)
    assert all(len(row.tokens) <= 5 and math.isfinite(row.log_probability) for row in rows)
    again = model.generate(["the cat", "", "x" * 500], max_tokens=5, **chosen)
    assert rows == again


def test_a_prompt_keeps_its_end_where_it_is_too_long():
    model = tiny()
    model.preprocess.prompt("x" * 500, reply=False)
    short, long = model.generate(["y" * 47, "z" * 500 + "y" * 47], max_tokens=64)
    assert short.tokens == long.tokens
    assert len(long.tokens) <= 16


def test_sizes_that_make_no_model_are_refused():
    with pytest.raises(ModelError):
        decoder(width=30, heads=4)
    with pytest.raises(ModelError):
        decoder(vocabulary=100)
