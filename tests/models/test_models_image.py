import numpy as np
import pytest
import torch

from dripstone.core.blocks import find_blocks, suffix_parameters
from dripstone.core.errors import DataError, ModelError
from dripstone.models import image_classifier


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((8, 8), 32 * 5),
        ((28, 28), 32 * 17),
        ((3, 32, 32), 32 * 17),
        ((1, 5, 9), 32 * 9),
        ((1, 1), 64),
        ((2, 3), 32 * 7),
    ],
)
def test_features_are_as_wide_as_promised(shape, size):
    model = image_classifier(shape, random_features=16)
    model.head.grow(2)
    batch = model.collate([np.zeros(shape, dtype="f4")] * 3)
    features = model.features(batch)
    assert features.shape == (3, size)
    assert model(batch).shape == (3, 2)


def test_blocks():
    model = image_classifier((8, 8), channels=(4, 6, 8))
    assert find_blocks(model.backbone) == ["blocks.0", "blocks.1", "blocks.2"]
    assert all(name.startswith("blocks.2.") for name in suffix_parameters(model.backbone, 1))


def test_the_answer_to_one_row_does_not_depend_on_its_company():
    model = image_classifier((8, 8), random_features=16).train()
    batch = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.features(batch)[:1], model.features(batch[:1]), atol=1e-6)


def test_the_global_generator_does_not_move():
    before = torch.get_rng_state()
    image_classifier((8, 8))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("channels", [(), (0,), (4, -1)])
def test_bad_channels(channels):
    with pytest.raises(ModelError, match="make no network"):
        image_classifier((8, 8), channels=channels)


def test_a_picture_of_another_shape():
    with pytest.raises(
        DataError, match=r"row 0 has shape \(9, 8\), the model takes \(1, 8, 8\) or \(64,\) or \(8, 8\)"
    ):
        image_classifier((8, 8)).collate([np.zeros((9, 8))])
