"""Selection ``grown``: what was appended last, and nothing else."""

import pytest

from dripstone.core.errors import UsageError
from dripstone.models import mlp
from dripstone.models.growth import grow
from dripstone.select.selection import parse_selection
from text_samples import tiny


def grown(*steps):
    model = tiny()
    for by in steps:
        model = grow(model, model.spec, **by)
    return model


def select(model):
    names, parts = parse_selection("grown").choose(model)
    return names, {name: (part.dimension, int(part.index[0])) for name, part in parts.items()}


def test_new_blocks_move_as_a_whole_and_alone():
    names, parts = select(grown({"depth": 2}))
    assert {name.rpartition(".blocks.")[2][0] for name in names} == {"2", "3"}
    assert len(names) == 2 * 9
    assert parts == {}


def test_of_feed_forward_layers_the_new_units_move():
    names, parts = select(grown({"ffn": 8}))
    assert names == [f"backbone.blocks.{i}.feed.{part}.weight" for i in (0, 1) for part in ("gate", "up", "down")]
    assert list(parts.values()) == [(0, 96), (0, 96), (1, 96)] * 2


def test_both_at_once_and_the_last_growth_only():
    names, parts = select(grown({"ffn": 4}, {"depth": 1, "ffn": 8}))
    assert len(names) == 2 * 3 + 9
    assert set(parts) == {name for name in names if ".blocks.2." not in name}
    assert set(parts.values()) == {(0, 100), (1, 100)}
    names, parts = select(grown({"ffn": 4}, {"depth": 1}))
    assert len(names) == 9
    assert parts == {}


@pytest.mark.parametrize("model", [tiny(), mlp(inputs=2, hidden=[4])])
def test_a_model_that_has_not_grown_is_refused(model):
    with pytest.raises(UsageError, match=r"has not grown.*grow it with 'dripstone grow', or use suffix:k"):
        parse_selection("grown").choose(model)


def test_what_is_held_fixed_stays_so():
    model = grown({"depth": 1})
    model.backbone.blocks[2].feed.requires_grad_(False)
    assert not any(".feed." in name for name in select(model)[0])


def test_others_move_whole_parameters():
    model = grown({"ffn": 8})
    assert all(parse_selection(text).choose(model).parts == {} for text in ("full", "suffix:1", "vectors"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("grown:2", "grown takes no argument; write grown"), ("grown@ridge", "use head@ridge or grown@")],
)
def test_forms(text, words):
    with pytest.raises(UsageError) as caught:
        parse_selection(text)
    assert words in str(caught.value)
    assert str(parse_selection("grown@sgd")) == "grown@sgd"
