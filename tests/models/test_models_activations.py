import json

import msgspec
import pytest
import torch
from torch import nn

from dripstone.core.errors import ModelError
from dripstone.models import build, image_classifier, mlp
from dripstone.models.activations import ACTIVATIONS

MADE = {
    "mlp": lambda **given: mlp(inputs=6, hidden=(8, 8), random_features=16, dropout=0.1, **given),
    "image": lambda **given: image_classifier((8, 8), (4, 4), random_features=16, **given),
}


def modules(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("factory", MADE.values(), ids=MADE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_block_has_the_activation_and_the_spec_rebuilds_it(factory, name):
    model = factory(activation=name)
    assert len(modules(model, ACTIVATIONS[name])) == 2
    again = build(msgspec.json.decode(msgspec.json.encode(model.spec), type=type(model.spec)), {}, classes=0)
    assert len(modules(again, ACTIVATIONS[name])) == 2
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("factory", MADE.values(), ids=MADE)
def test_the_weights_do_not_depend_on_the_activation(factory):
    models = [factory(activation=name) for name in ACTIVATIONS]
    for model in models[1:]:
        assert all(torch.equal(one, two) for one, two in zip(models[0].parameters(), model.parameters(), strict=True))


def test_the_spec_of_a_model_with_the_usual_activation_has_the_bytes_that_it_had():
    assert json.dumps(mlp(inputs=2, activation="relu").spec.kwargs) == (
        '{"inputs": 2, "hidden": [], "random_features": 1024, "dropout": 0.0, "seed": 0}'
    )
    assert json.dumps(image_classifier((8, 8)).spec.kwargs) == (
        '{"shape": [8, 8], "channels": [16, 32], "random_features": 2048, "seed": 0}'
    )
    assert modules(MADE["mlp"](), nn.ReLU)


@pytest.mark.parametrize("name", ["Relu", "", "sigmoid", None, 3, ["relu"]])
@pytest.mark.parametrize("factory", [*MADE.values(), lambda **given: mlp(inputs=2, **given)])
def test_an_unknown_activation_is_an_error_that_names_those_there_are(factory, name):
    with pytest.raises(ModelError, match="use relu or gelu or silu or tanh") as raised:
        factory(activation=name)
    assert raised.value.kind == "model.arguments"
