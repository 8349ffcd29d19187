"""A decoder that has grown answers as before, keeps every old bit, and can learn with what it has got."""

import pytest
import torch

from dripstone.core.bits import to_raw
from dripstone.core.errors import ModelError, UsageError
from dripstone.core.fork import changed_tensors, fill, named_tensors
from dripstone.models import decoder, mlp
from dripstone.models.factory import build
from dripstone.models.growth import DEEPEST, WIDEST, grow
from text_samples import stories, tiny

TEXTS = [row["text"] for row in stories(6, 0)]


@pytest.fixture
def small():
    """A decoder whose weights are those of no fresh one."""
    model = tiny()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(7)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def grown(model, **by):
    return grow(model, model.spec, **by)


def test_new_blocks_leave_every_bit_of_the_answers(small):
    large = grown(small, depth=2)
    assert torch.equal(large.read(TEXTS), small.read(TEXTS))
    assert len(large.backbone.blocks) == 4
    written = [model.generate(["the cat"], max_tokens=8)[0].tokens for model in (small, large)]
    assert written[0] == written[1]


@pytest.mark.parametrize("by", [{"ffn": 32}, {"ffn": 5}, {"depth": 1, "ffn": 16}])
def test_new_units_leave_the_answers_to_a_millionth(small, by):
    large = grown(small, **by)
    assert large.read(TEXTS) == pytest.approx(small.read(TEXTS).numpy(), abs=1e-6)
    assert large.backbone.hidden == small.backbone.hidden + by["ffn"]


@pytest.mark.parametrize("by", [{"depth": 2}, {"ffn": 32}, {"depth": 1, "ffn": 16}])
def test_what_was_there_keeps_its_bits_and_its_place(small, by):
    old, new = named_tensors(small), named_tensors(grown(small, **by))
    assert old.keys() <= new.keys()
    for name, tensor in old.items():
        assert torch.equal(new[name][tuple(map(slice, tensor.shape))], tensor), name


def test_of_new_blocks_alone_there_is_nothing_else_to_store(small):
    changed = changed_tensors(grown(small, depth=2), small)
    assert {name.split(".")[2] for name in changed} == {"2", "3"}
    assert all(name.startswith("backbone.blocks.") for name in changed)


def test_what_adds_to_the_sum_is_zero_and_the_rest_is_not(small):
    large = grown(small, depth=1, ffn=8)
    block, first = large.backbone.blocks[2], large.backbone.blocks[0]
    assert not block.attention.output.weight.any()
    assert not block.feed.down.weight.any()
    assert not first.feed.down.weight[:, -8:].any()
    for part in (block.attention.query.weight, block.feed.gate.weight, first.feed.gate.weight[-8:]):
        assert 0.015 < float(part.detach().std()) < 0.025
    assert torch.equal(block.feed_norm.weight, torch.ones(32))


def test_what_is_zero_learns_at_once_and_the_rest_after_it(small):
    large = grown(small, depth=1, ffn=8)
    block, old = large.backbone.blocks[2], large.backbone.blocks[0]
    ((windows, targets),) = large.windows([TEXTS])
    optimizer = torch.optim.SGD(large.parameters(), lr=0.1)
    moved = []
    for _ in range(2):
        optimizer.zero_grad()
        logits = large(large.collate(windows))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        moved.append([bool(p.grad.any()) for p in (block.attention.output.weight, block.attention.query.weight)])
        assert old.feed.down.weight.grad[:, -8:].any()
        optimizer.step()
    assert moved == [[True, False], [True, True]]
    assert old.feed.gate.weight.grad[-8:].any()


def test_the_spec_rebuilds_what_has_grown(small):
    large = grown(grown(small, depth=1), ffn=8)
    assert large.spec.kwargs | {"depth": 3, "hidden": 104, "appended": [0, 8]} == large.spec.kwargs
    again = build(large.spec, large.assets, classes=0)
    assert again.spec == large.spec
    fill(again, named_tensors(large).items())
    assert torch.equal(again.read(TEXTS), large.read(TEXTS))


def test_growth_is_the_same_every_time_and_another_for_every_spec(small):
    state = torch.get_rng_state()
    one, two = (named_tensors(grown(small, depth=2)) for _ in range(2))
    assert all(to_raw(one[name]) == to_raw(two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)
    twice = named_tensors(grown(grown(small, depth=1), depth=1))
    name = "backbone.blocks.3.attention.query.weight"
    assert not torch.equal(one[name], twice[name])


def test_new_units_are_none_of_the_old_ones(small):
    """With the factory's own seed, the next numbers are those that another matrix was made of."""
    fresh = tiny()
    large = grown(fresh, ffn=8)
    drawn = large.backbone.blocks[0].feed.gate.weight[-8:].flatten().tolist()
    old = {value for tensor in named_tensors(fresh).values() for value in tensor.flatten().tolist()}
    assert not set(drawn) & old


def test_what_the_tokens_were_learned_as_comes_along():
    model = decoder(vocabulary=300, width=32, depth=1, heads=2, context=32)
    model.fit([row["text"] for row in stories(50, 0)])
    large = grown(model, depth=1)
    assert torch.equal(large.preprocess.learned, model.preprocess.learned)
    assert torch.equal(large.read(TEXTS), model.read(TEXTS))


def test_an_output_layer_of_its_own_stays():
    model = tiny(tied=False)
    large = grown(model, depth=1, ffn=4)
    assert torch.equal(large.head.weight, model.head.weight)
    assert not torch.equal(large.head.weight, large.backbone.embedding.weight)


def test_a_spec_says_only_what_was_asked_for():
    assert not {"hidden", "appended"} & tiny().spec.kwargs.keys()
    assert tiny(hidden=64).spec.kwargs["hidden"] == 64
    assert tiny(hidden=64).backbone.blocks[0].feed.gate.weight.shape == (64, 32)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ({}, "there is nothing to grow by; give depth, ffn or both"),
        ({"depth": 0, "ffn": 0}, "nothing to grow by"),
        ({"depth": -1}, "depth -1 is no growth; give a whole number above 0"),
        ({"depth": 1, "ffn": -1}, "ffn -1 is no growth"),
        ({"depth": 1.0}, "depth 1.0 is no growth"),
        ({"depth": "2"}, "depth '2' is no growth"),
        ({"ffn": True}, "ffn True is no growth"),
        ({"depth": float("nan")}, "depth nan is no growth"),
        ({"depth": DEEPEST}, "258 blocks are more than the 256 that a model may grow to; grow by less"),
        ({"ffn": WIDEST}, "hidden units are more than the 65,536"),
        ({"depth": 10**30}, "grow by less"),
    ],
)
def test_bad_amounts(by, words):
    model = tiny()
    with pytest.raises(UsageError) as caught:
        grown(model, **by)
    assert words in str(caught.value)
    assert caught.value.kind == "usage.growth"


def test_other_models_do_not_grow():
    model = mlp(inputs=2)
    with pytest.raises(UsageError, match=r"what dripstone\.models:mlp makes cannot grow, only what") as caught:
        grown(model, depth=1)
    assert "make a project with a larger model" in str(caught.value)


@pytest.mark.parametrize("appended", [(1,), (1, 2, 3), (3, 0), (0, 96), (-1, 0), (True, 0), ("1", 0), (0.0, 1)])
def test_a_spec_that_lies_about_its_growth(appended):
    with pytest.raises(ModelError, match="of 2 blocks and 96 units; give two numbers"):
        tiny(appended=appended)
