import numpy as np
import pytest
import torch

from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors, fork
from dripstone.models import image_classifier, mlp


def rows(count, size, seed=0):
    return list(np.random.default_rng(seed).normal(size=(count, size)).astype("f4"))


def test_forward_is_the_head_of_the_features():
    model = mlp(inputs=5, hidden=[7], random_features=16)
    inputs = rows(12, 5)
    model.fit(inputs)
    batch = model.collate(inputs)
    model.head.fit(model.features(batch))
    model.head.grow(3)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(batch), model.head(model.features(batch)))
    assert model(batch).shape == (12, 3)


def test_starts_in_evaluation_mode():
    assert not any(module.training for module in mlp(inputs=3, hidden=[4], dropout=0.5).modules())


def test_fit_leaves_the_head_alone_and_later_calls_do_nothing():
    model = mlp(inputs=5, random_features=16)
    twin = fork(model, [])
    twin.fit(rows(10, 5))
    assert set(changed_tensors(twin, model)) == {"preprocess.shift", "preprocess.scale", "preprocess.fitted"}
    again = fork(twin, [])
    again.fit(rows(10, 5, seed=1))
    assert not changed_tensors(again, twin)


def test_a_fork_keeps_spec_and_assets_of_its_own():
    model = image_classifier((8, 8))
    twin = fork(model, [])
    twin.assets["x"] = b"1"
    assert twin.spec == model.spec
    assert model.assets == {}


@pytest.mark.parametrize("made", [(torch.zeros(1),), {"ids": [1, 2]}, None])
def test_a_batch_of_something_else_than_tensors_is_refused_by_name(made):
    model = mlp(inputs=5, random_features=16)
    model.preprocess.collate = lambda inputs: made
    with pytest.raises(ModelError, match="preprocess makes something else than a tensor") as caught:
        model.collate(rows(2, 5))
    assert "rows in their first dimension" in caught.value.remedy
