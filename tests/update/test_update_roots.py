"""Another root in the place of the first, while nothing has been learned."""

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import RaceLostError
from dripstone.core.records import Spec
from dripstone.learner import Learner
from dripstone.models import ModelSpec, image_classifier, mlp
from dripstone.models.activations import ACTIVATIONS
from dripstone.update.audit import audit
from dripstone.update.roots import activations_for, own_activation, replace_root
from learner_samples import blobs, book_of, make, trained
from text_samples import make_texts

ROWS = [np.array(row["inputs"], dtype=np.float32) for row in blobs(8, 0)]


def deep(folder, **settings):
    return make(folder, settings, model=mlp(2, (8, 8), 64))


def found(learner, contents=ROWS):
    return activations_for(learner.repository, learner.champion(), contents)


def test_an_untrained_mlp_may_begin_with_any_its_own_first(tmp_path):
    learner = make(tmp_path, model=mlp(2, (8,), 64, activation="silu"))
    roots, word = found(learner)
    assert list(roots) == ["silu", *(name for name in ACTIVATIONS if name != "silu")]
    assert "searched" in word
    assert roots["silu"] is learner.champion()
    for name, root in roots.items():
        assert any(isinstance(module, ACTIVATIONS[name]) for module in root.model.modules())
        assert own_activation(root.model.spec) == name


def test_pictures_as_well(tmp_path):
    learner = Learner.create(tmp_path / "p", model=image_classifier((4, 4), (4,), 16))
    pictures = [np.random.default_rng(n).normal(size=(4, 4)).astype("f4") for n in range(4)]
    assert list(found(learner, pictures)[0]) == list(ACTIVATIONS)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (make, "no layer that it acts on"),
        (make_texts, "takes none"),
        (lambda folder: trained(folder), "relu, as the project has learned"),
        (deep, None),
    ],
)
def test_where_there_is_no_choice_a_word_says_why(tmp_path, made, words):
    learner = made(tmp_path)
    roots, word = found(learner, ["some text"] if learner.config.task.kind == "causal_lm" else ROWS)
    assert (roots == {}) == (words is not None)
    assert words is None or words in word


def test_a_project_that_went_back_to_its_root_has_learned(tmp_path):
    learner = deep(tmp_path)
    learner.update(blobs(150, 0))
    learner.revert()
    assert found(learner)[0] == {}


def own_factory(activation: str = "relu", width: int = 4) -> nn.Module:
    """A factory as a user writes it, with weights of its own."""
    return nn.Sequential(nn.Linear(2, width), ACTIVATIONS[activation](), nn.Linear(width, 2))


def other_meaning(activation: int = 3) -> nn.Module:
    """A factory whose argument is no name."""
    return nn.Sequential(nn.Linear(2, activation), nn.ReLU(), nn.Linear(activation, 2))


def test_weights_that_came_with_the_model_are_not_thrown_away(tmp_path):
    spec = ModelSpec(f"{__name__}:own_factory")
    torch.manual_seed(5)
    learner = make(tmp_path, model=own_factory(), spec=spec)
    assert found(learner) == ({}, "relu, as the weights came with the model")


def test_a_users_factory_whose_weights_are_drawn_by_it_has_the_choice(tmp_path):
    from dripstone.models.factory import build

    spec = ModelSpec(f"{__name__}:own_factory", {"width": 8})
    made = build(spec, {}, classes=0)
    learner = make(tmp_path, model=made)
    assert list(found(learner)[0]) == list(ACTIVATIONS)


def test_an_argument_of_another_meaning_is_left_alone(tmp_path):
    spec = ModelSpec(f"{__name__}:other_meaning")
    assert own_activation(spec) is None
    assert own_activation(Spec("dripstone.models:mlp", {"activation": ["relu"]})) is None
    assert found(make(tmp_path, model=other_meaning(), spec=spec))[0] == {}


def test_another_root_is_live_by_one_entry_and_all_is_well_afterwards(tmp_path):
    learner = deep(tmp_path)
    first = learner.champion().version
    roots, _ = found(learner)
    entry = replace_root(learner.repository, roots["gelu"], 1, "gelu, found by a search")
    assert (entry.number, entry.event, entry.reason) == (2, "promote", "gelu, found by a search")
    assert entry.version != first
    learner = Learner.open(learner.project)
    manifest = learner.repository.manifest(entry.version)
    assert manifest.parent is None
    assert manifest.spec.kwargs["activation"] == "gelu"
    assert list(learner.repository.verify()) == list(audit(learner.repository, learner.config)) == []
    assert learner.repository.certificate_of(entry).source == "person"
    assert list(found(learner)[0]) == ["gelu", "relu", "silu", "tanh"]  # nothing has been learned yet
    assert learner.update(blobs(150, 0)).promoted
    assert learner.update(blobs(150, 1, "abc")).promoted
    assert list(learner.repository.verify()) == list(audit(learner.repository, learner.config)) == []
    assert learner.revert(first).version == first
    assert learner.update(blobs(150, 2)).promoted


def test_back_to_the_first_activation_is_the_first_root(tmp_path):
    learner = deep(tmp_path)
    first = learner.champion().version
    replace_root(learner.repository, found(learner)[0]["gelu"], 1, "gelu")
    entry = replace_root(learner.repository, found(learner)[0]["relu"], 2, "relu")
    assert entry.version == first
    assert list(learner.repository.verify()) == []


def test_rows_that_wait_go_on_waiting(tmp_path):
    learner = deep(tmp_path)
    assert learner.update(blobs(3, 0)).verdict == "undecided"
    waiting = msgspec.json.encode([item.row.id for item in book_of(learner).pending])
    replace_root(learner.repository, found(learner)[0]["tanh"], 2, "tanh")
    assert msgspec.json.encode([item.row.id for item in book_of(learner).pending]) == waiting
    assert learner.update(blobs(150, 1)).promoted
    assert list(learner.repository.verify()) == []


def test_whoever_comes_second_changes_nothing(tmp_path):
    learner = deep(tmp_path)
    root = found(learner)[0]["gelu"]
    learner.update(blobs(3, 0))
    with pytest.raises(RaceLostError, match="log entry 2 was written meanwhile"):
        replace_root(learner.repository, root, 1, "gelu")
    assert learner.repository.log.last() == 2
