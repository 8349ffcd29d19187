"""Features of rows, in the rows' order, in whatever batches they were computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError
from dripstone.core.records import Spec
from dripstone.models import image_classifier, mlp, text_classifier
from dripstone.models.wrap import wrap
from dripstone.train.features import BATCH, encode, features_of
from tiny_encoder import WORDS

TEXTS = [" ".join(WORDS[4 + (i * 7 + j) % 30] for j in range(1 + (i * 5) % 13)) for i in range(2 * BATCH + 9)]


def vectors(rows: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(rows, 4)).astype("f4"))


@pytest.mark.parametrize("rows", [1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_progress_ends_with_every_row(rows):
    events = list(encode(mlp(inputs=4, hidden=[8]), vectors(rows)))
    assert [event.done for event in events] == [*range(BATCH, rows, BATCH), rows]
    assert {event.rows for event in events} == {rows}


def test_features_come_in_the_order_of_the_rows():
    model, rows = mlp(inputs=4, hidden=[8]), vectors(BATCH + 30)
    together = features_of(model, rows)
    assert together.shape == (BATCH + 30, 8)
    for index in (0, 63, 64, 93):
        assert torch.allclose(together[index], features_of(model, [rows[index]])[0], atol=1e-6)


def test_no_rows_have_no_features():
    assert features_of(mlp(inputs=4), []).shape == (0, 0)
    assert list(encode(mlp(inputs=4), [])) == []


def test_texts_sorted_by_length_have_the_features_they_have_alone(encoder_folder: Path):
    model = text_classifier(encoder=str(encoder_folder), max_length=32)
    together = features_of(model, TEXTS)
    alone = torch.cat([features_of(model, [text]) for text in TEXTS[:40]])
    assert together.dtype == torch.float32
    assert torch.allclose(together[:40], alone, atol=1e-5)
    backwards = features_of(model, TEXTS[::-1])
    assert torch.allclose(backwards.flip(0), together, atol=1e-5)


def test_pictures_have_features():
    rows = list(np.random.default_rng(0).random((5, 8, 8)).astype("f4"))
    assert features_of(image_classifier((8, 8), channels=(4,), random_features=8), rows).shape[0] == 5


def noisy() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))


def test_every_module_keeps_its_mode_and_nothing_moves():
    model = wrap(noisy(), Spec("tests:noisy"), random_features=8)
    model.train()
    model.backbone.module[1].eval()
    modes = [module.training for module in model.modules()]
    bits = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = features_of(model, vectors(10)), features_of(model, vectors(10))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, bits[name]) for name, tensor in model.state_dict().items())


def test_the_mode_is_restored_after_a_row_that_cannot_be_read():
    model = mlp(inputs=4, hidden=[8])
    model.train()
    with pytest.raises(DataError):
        features_of(model, [np.zeros(3, dtype="f4")])
    assert all(module.training for module in model.modules())


def test_features_of_a_module_in_half_precision_are_float32():
    model = wrap(noisy().bfloat16(), Spec("tests:noisy"), random_features=8)
    model.collate = lambda inputs: torch.from_numpy(np.stack(inputs)).bfloat16()  # type: ignore[method-assign]
    assert features_of(model, vectors(3)).dtype == torch.float32
