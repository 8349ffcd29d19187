import numpy as np
import pytest
import torch

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import ModelError
from dripstone.core.fork import named_tensors
from dripstone.models import mlp


def test_blocks_are_the_hidden_layers():
    model = mlp(inputs=6, hidden=(8, 8), random_features=16, dropout=0.1)
    assert find_blocks(model.backbone) == ["0", "1"]
    assert suffix_parameters(model.backbone, 1) == ["1.0.weight", "1.0.bias"]


def test_one_hidden_layer_is_one_block():
    assert find_blocks(mlp(inputs=6, hidden=(8,)).backbone) == ["0"]


def test_without_hidden_layers_the_features_are_the_scaled_inputs():
    model = mlp(inputs=3)
    rows = [np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 4.0])]
    model.fit(rows)
    assert torch.equal(model.features(model.collate(rows)), model.collate(rows))
    assert find_blocks(model.backbone) == []


def test_the_seed_decides_and_the_global_generator_does_not_move():
    before = torch.get_rng_state()
    a, b, c = (named_tensors(mlp(inputs=3, hidden=[4], random_features=8, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["backbone.0.0.weight"], c["backbone.0.0.weight"])


def test_no_inputs():
    with pytest.raises(ModelError, match="0 values"):
        mlp(inputs=0)


def test_digits_with_random_features_and_ridge():
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    rows, targets = [pixels[i].astype("f4") for i in order], torch.from_numpy(labels[order])
    model = mlp(inputs=64)
    model.fit(rows[:1200])
    features = model.features(model.collate(rows))
    model.head.fit(features[:1200])
    expanded = model.head.expand(features).double()
    mean, shares = expanded[:1200].mean(0), torch.nn.functional.one_hot(targets[:1200]).double()
    centred = expanded[:1200] - mean
    gram = centred.T @ centred + 0.05 * torch.eye(len(mean), dtype=torch.float64)
    weight = torch.linalg.solve(gram, centred.T @ (shares - shares.mean(0)))
    answers = ((expanded[1200:] - mean) @ weight + shares.mean(0)).argmax(1)
    assert (answers == targets[1200:]).double().mean() > 0.98
