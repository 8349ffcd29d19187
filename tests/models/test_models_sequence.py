"""An encoder-decoder answers each pair as if it were alone, and writes what it is read to hold likeliest."""

import math

import pytest
import torch

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import DataError, ModelError
from dripstone.core.examples import Exchange
from dripstone.core.fork import fork, named_tensors
from dripstone.core.losses import IGNORED, cross_entropy
from dripstone.models import build, seq2seq
from dripstone.models.factory import prepare
from dripstone.models.pairs import OPEN, first_fit
from dripstone.train.activation_cache import ActivationCache
from pair_samples import asked, tiny

PAIRS = [Exchange(row["text"], row["reply"]) for row in asked(24, seed=1)] + [Exchange("x", "abcdefghijkl")]


def loud(model):
    """The same with larger weights, so that whatever is seen and should not be makes a difference."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(2)
    return model


def by_hand(model, prompt, reply):
    """Mean loss and number of a reply's tokens with torch's layers in a loop and no mask but the causal one."""
    backbone, tokens = model.backbone, model.preprocess
    source = torch.tensor([[*tokens.encode([prompt])[0][: tokens.context - 1], tokens.end]])
    whole = [tokens.end, *tokens.encode([reply])[0], tokens.end]
    x, y = (backbone.embed(ids, torch.zeros_like(ids)) for ids in (source, torch.tensor([whole[:-1]])))
    for block in backbone.blocks[: backbone.depth]:
        x = block.norm(block.layer(x))
    causal = torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).triu(1)
    for block in backbone.blocks[backbone.depth :]:
        y = block.layer(y, x, tgt_mask=causal)
    scores = model.head(backbone.norm(y))[0].log_softmax(dim=1)
    losses = [-float(scores[place, token]) for place, token in enumerate(whole[1:])]
    return sum(losses) / len(losses), len(losses)


def test_a_pair_reads_as_it_does_alone_and_as_by_hand():
    model = loud(tiny())
    together = model.read(PAIRS)
    for pair, row in zip(PAIRS, together, strict=True):
        assert torch.allclose(model.read([pair])[0], row, atol=1e-5)
        with torch.no_grad():
            loss, count = by_hand(model, *pair)
        assert row[:2].tolist() == [count, pytest.approx(loss, abs=1e-5)]


def test_no_gradient_reaches_a_row_from_another_or_from_padding():
    model = loud(tiny())
    windows, targets = model.windows([PAIRS])[0]
    batch = model.collate(windows)
    rows = batch["segments"][:, 32:]
    seen = []
    model.backbone.embedding.register_forward_hook(lambda module, args, output: seen.append(output))
    features = model.features(batch)
    assert torch.isfinite(features).all()
    first = int(rows[0, 0])
    mine = features[rows == first]
    loss = (mine * torch.randn(mine.shape, generator=torch.Generator().manual_seed(0))).sum()
    for gradient, segments in zip(
        torch.autograd.grad(loss, seen), (batch["segments"][:, :32], batch["segments"][:, 32:]), strict=True
    ):
        assert bool((gradient[segments != first] == 0).all())
        assert bool((gradient[segments == first] != 0).any(dim=1).all())
    assert bool((targets == IGNORED).any())


def test_what_comes_later_in_a_reply_changes_nothing_before_it():
    model = loud(tiny())
    read = {reply: model.windows([[Exchange("7 cat", reply)]])[0] for reply in ("meow", "meXX")}
    one, other = (model(model.collate(windows))[0] for windows, _ in read.values())
    assert torch.allclose(one[:3], other[:3], atol=1e-5)
    assert not torch.allclose(one[3], other[3], atol=1e-2)


def test_it_writes_alike_alone_and_beside_others():
    model = loud(tiny())
    prompts = [pair.prompt for pair in PAIRS] + ["", "a long prompt of many more letters"]
    for chosen in ({}, {"beams": 3}):
        together = model.generate(prompts, **chosen)
        for prompt, row in zip(prompts, together, strict=True):
            alone = model.generate([prompt], **chosen)[0]
            assert alone.tokens == row.tokens
            assert alone.log_probability == pytest.approx(row.log_probability, abs=1e-3)


def test_teacher_forcing_teaches_what_is_then_written_and_read_as_exact():
    model = tiny()
    windows, targets = model.windows([PAIRS[:6]])[0]
    batch, optimizer = model.collate(windows), torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(batch), targets).mean().backward()
        optimizer.step()
    prompts = [pair.prompt for pair in PAIRS[:6]]
    for chosen in ({}, {"beams": 3}):
        rows = model.generate(prompts, **chosen)
        assert [model.preprocess.decode(row.tokens) for row in rows] == [pair.reply for pair in PAIRS[:6]]
        assert all(row.ended for row in rows)
    read = model.read([*PAIRS[:6], Exchange(prompts[0], "other")])
    assert read[:, 2].tolist() == [1] * 6 + [0]
    for row, (count, loss, _) in zip(rows, read.tolist(), strict=False):
        assert -count * loss == pytest.approx(row.log_probability, abs=1e-3)


def test_the_best_beam_is_at_least_as_likely_a_token_as_the_greedy_one():
    model = loud(tiny())
    prompts = [pair.prompt for pair in PAIRS[:6]]
    better = 0
    for one, many in zip(model.generate(prompts), model.generate(prompts, beams=8), strict=True):
        better += many.log_probability / many.length >= one.log_probability / one.length - 1e-6
    assert better >= 5


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.0, "top_p": 0.9}, {"beams": 3}, {"max_tokens": 2}])
def test_every_way_of_writing_stays_within_the_limits(chosen):
    rows = tiny().generate(["the cat", "", "x" * 500], **chosen)
    assert all(row.length <= chosen.get("max_tokens", 13) and math.isfinite(row.log_probability) for row in rows)


def test_a_prompt_that_is_too_long_is_cut_at_its_end():
    model = tiny()
    short, long, other = model.read([Exchange(text, "a") for text in ("y" * 31, "y" * 31 + "z" * 500, "y" * 30 + "z")])
    assert torch.equal(short, long)
    assert not torch.equal(short, other)


def test_a_reply_that_is_too_long_is_refused_and_one_that_just_fits_is_not():
    model = tiny()
    rows = [Exchange("a", "x" * 12), Exchange("a", "x" * 13), "a prompt alone"]
    reasons = model.preprocess.refusals(rows)
    assert reasons == [None, "the reply is longer than the 12 tokens that the model writes", None]
    assert model.read(rows[:1])[0, 0] == 13
    with pytest.raises(DataError, match="the reply of row 1 has 13 tokens"):
        model.read(rows[:2])
    with pytest.raises(DataError, match="row 0 has no reply"):
        model.read(rows[2:])
    with pytest.raises(DataError):
        model.read([])


def test_windows_of_several_groups_are_as_long_as_each_other_and_ask_for_each_token_once():
    model = tiny()
    (first, one), (second, two) = model.windows([PAIRS, [Exchange("a", "b")]])
    assert len({window.shape for window in [*first, *second]}) == 1
    assert one.shape[1] == two.shape[1] == first[0].shape[1] - 32
    assert int((one != IGNORED).sum()) == sum(len(pair.reply) + 1 for pair in PAIRS)
    assert len(first) < len(PAIRS) / 2
    loss = model(model.collate(second)).log_softmax(dim=2)[0, 0, ord("b")]
    assert two[0, :2].tolist() == [ord("b"), model.preprocess.end]
    assert torch.isfinite(loss)


def test_many_pairs_are_packed_and_none_is_lost():
    sizes = [(1 + place * 7 % 30, 1 + place * 5 % 11) for place in range(3000)]
    groups = first_fit(sizes, (32, 12))
    assert sorted(place for group in groups for place in group) == list(range(3000))
    assert all(sum(sizes[place][side] for place in group) <= (32, 12)[side] for group in groups for side in (0, 1))
    assert OPEN < len(groups) < 2500


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_activation_cache_skips_frozen_blocks_and_gradients_are_the_same(k):
    model = tiny()
    assert find_blocks(model.backbone) == [f"blocks.{place}" for place in range(4)]
    names = [f"backbone.{name}" for name in suffix_parameters(model.backbone, k)]
    twin = fork(model, names)
    windows, targets = twin.windows([PAIRS])[0]
    cache = ActivationCache(twin, names)
    list(cache.fill(windows))
    assert (cache.cut, cache.reason) == (4 - k, None)
    batch, asked_for = twin.collate(windows), targets != IGNORED
    chosen = [twin.get_parameter(name) for name in names]
    whole = twin(batch)[asked_for]
    with cache.replaying(windows, batch):
        skipped = twin(batch)[asked_for]
    assert torch.allclose(skipped, whole, atol=1e-5)
    gradients = [torch.autograd.grad(logits.square().mean(), chosen) for logits in (whole, skipped)]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


def test_a_model_that_trains_with_dropout_is_cached_below_it():
    model = tiny(dropout=0.5)
    names = [f"backbone.{name}" for name in suffix_parameters(model.backbone, 1)]
    cache = ActivationCache(fork(model, names), names)
    list(cache.fill(model.windows([PAIRS])[0][0]))
    assert (cache.cut, cache.reason) == (3, None)


def test_a_spec_rebuilds_the_module_and_ties_are_as_asked():
    for model in (tiny(), tiny(tied=False)):
        again = build(model.spec, {}, classes=1)
        mine, theirs = named_tensors(model), named_tensors(again)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert mine.keys() == theirs.keys()
        assert ("head.weight" in mine) == (model.head.weight is not model.backbone.embedding.weight)
        assert prepare(model, None, 0) is model


@pytest.mark.parametrize(
    "sizes",
    [{"width": 30, "heads": 4}, {"width": 15, "heads": 3}, {"depth": 0}, {"vocabulary": 100}, {"reply": 0},
     {"context": 1}, {"dropout": 1.0}, {"tokenizer": "words"}],
)  # fmt: skip
def test_sizes_that_make_no_model_are_refused(sizes):
    with pytest.raises(ModelError) as caught:
        seq2seq(**sizes)
    assert caught.value.remedy
