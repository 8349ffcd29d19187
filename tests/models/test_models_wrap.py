import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.errors import DataError, ModelError
from dripstone.core.fork import changed_tensors, fill, fork, named_tensors
from dripstone.core.records import Spec
from dripstone.models.head import Identity, RandomFourierFeatures
from dripstone.models.preprocess import Stack, Vector
from dripstone.models.wrap import HEAD_KEY, wrap

SPEC = Spec("some.where:net")


def net(bias=True):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3, bias=bias))


class TwoEnds(nn.Module):
    """Its output layer is not the last one registered."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(6, 2)
        self.body = nn.Linear(4, 6)

    def forward(self, x):
        return self.classify(self.body(x).relu())


class Scaled(nn.Module):
    """Brings its own preprocessing."""

    def __init__(self):
        super().__init__()
        self.preprocess = Vector(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)


class TwoResults(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x), x


@pytest.mark.parametrize("bias", [True, False])
def test_known_labels_keep_the_answers(bias):
    module = net(bias)
    model = wrap(module, SPEC, labels_known=3)
    x = torch.randn(5, 4)
    assert torch.allclose(model(x), module(x), atol=1e-6)
    assert isinstance(model.head.expansion, Identity)
    assert model.head.bias.shape == (3,)
    assert model.spec == Spec("some.where:net", kwargs={HEAD_KEY: {"kept": 3}}, output="2")


def test_no_known_labels_make_a_new_head_over_what_went_in():
    module = net()
    model = wrap(module, SPEC, random_features=16, seed=3)
    x = torch.randn(5, 4)
    assert torch.equal(model.features(x), module[:2](x))
    assert isinstance(model.head.expansion, RandomFourierFeatures)
    assert model.head.weight.shape == (0, 24)
    assert model.spec.kwargs == {HEAD_KEY: {"random_features": 16, "seed": 3}}


def test_the_users_module_is_untouched_and_shares_nothing():
    module = net().train()
    model = wrap(module, SPEC, labels_known=3)
    assert isinstance(module[2], nn.Linear)
    assert module.training
    before = {name: value.clone() for name, value in named_tensors(model).items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in named_tensors(model).items())


def test_the_output_layer_can_be_named():
    module = TwoEnds()
    model = wrap(module, Spec("some.where:net", output="classify"), labels_known=2)
    x = torch.randn(5, 4)
    assert torch.allclose(model(x), module(x), atol=1e-6)


def test_a_module_that_is_the_output_layer():
    module = nn.Linear(4, 3)
    model = wrap(module, SPEC, labels_known=3)
    x = torch.randn(5, 4)
    assert torch.allclose(model(x), module(x), atol=1e-6)
    assert model.spec.output == ""
    assert wrap(module, model.spec, labels_known=3).spec == model.spec


def test_other_number_of_labels():
    with pytest.raises(ModelError, match="'2' has 3 outputs for 4 known labels") as caught:
        wrap(net(), SPEC, labels_known=4)
    assert caught.value.kind == "model.labels"


def test_no_linear_layer():
    with pytest.raises(ModelError, match=r"Conv2d has no torch\.nn\.Linear.*give it an output layer"):
        wrap(nn.Conv2d(1, 1, 1), SPEC)


def test_a_name_that_is_no_linear_layer():
    with pytest.raises(ModelError, match=r"no torch\.nn\.Linear at '1'.*one of 0, 2"):
        wrap(net(), Spec("some.where:net", output="1"))


def test_a_softmax_after_the_output_layer():
    with pytest.raises(ModelError, match="LogSoftmax follows the output layer '1'"):
        wrap(nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.LogSoftmax(dim=1)), SPEC)
    assert wrap(nn.Sequential(nn.Linear(4, 3), nn.Identity()), SPEC, labels_known=3)


def test_a_module_that_returns_more_than_scores():
    with pytest.raises(ModelError, match="gives tuple, not") as caught:
        wrap(TwoResults(), SPEC).features(torch.ones(2, 4))
    assert caught.value.kind == "model.features"


def test_preprocessing_is_a_stack_unless_the_module_brings_some():
    assert isinstance(wrap(net(), SPEC).preprocess, Stack)
    model = wrap(Scaled(), SPEC)
    model.fit([np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0, 5.0])])
    assert model.preprocess.fitted
    assert [name for name in named_tensors(model) if "fitted" in name] == ["preprocess.fitted"]


def test_rows_that_are_no_arrays():
    with pytest.raises(DataError, match="row 0 is a text"):
        wrap(net(), SPEC).collate(["hello"])


def test_rows_that_the_module_cannot_take_are_the_datas_fault():
    model = wrap(net(), SPEC, labels_known=3)
    with pytest.raises(DataError, match=r"cannot take a batch of shape \[1, 6\]") as caught:
        model(model.collate([np.zeros(6, "f4")]))
    assert caught.value.kind == "data.shape"


def test_the_shape_of_the_first_rows_is_remembered_and_stored():
    model = wrap(net(), SPEC, labels_known=3)
    assert model.preprocess.accepted == []
    model.fit([np.zeros(4, "f4")])
    model.fit([np.zeros(5, "f4")])
    assert model.preprocess.accepted == [(4,)]
    assert named_tensors(model)["preprocess.shape"].tolist() == [4, *[-1] * 7]
    with pytest.raises(DataError, match="has shape"):
        model.collate([np.zeros(6, "f4")])
    with pytest.raises(DataError, match="9 dimensions"):
        wrap(net(), SPEC, labels_known=3).fit([np.zeros((1,) * 9, "f4")])


@pytest.mark.parametrize("module", [nn.Linear(4, 3), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))])
def test_what_the_output_layer_cannot_take_is_the_datas_fault(module):
    model = wrap(module, SPEC, labels_known=3)
    with pytest.raises(
        DataError, match=r"batch of shape \[2, 6\]: the output layer takes 4 features, not \[2, 6\]"
    ) as caught:
        model(model.collate([np.zeros(6, "f4")] * 2))
    assert caught.value.kind == "data.shape"
    assert isinstance(caught.value.__cause__, ValueError)


class Named(nn.Module):
    """Takes a batch of named tensors."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, batch):
        return self.fc(batch["x"] + batch["y"])


def test_a_batch_of_named_tensors_is_told_by_their_shapes():
    with pytest.raises(DataError, match=r"batch of shape x \[1, 4\], y \[1, 3\]: The size of tensor"):
        wrap(Named(), SPEC).features({"x": torch.ones(1, 4), "y": torch.ones(1, 3)})


def test_forks_keep_the_shape_and_it_is_part_of_the_delta():
    parent = wrap(net(), SPEC, labels_known=3)
    twin = fork(parent, [])
    twin.fit([np.zeros(4, "f4")])
    assert list(changed_tensors(twin, parent)) == ["preprocess.shape"]
    assert parent.preprocess.accepted == []
    assert fork(twin, []).preprocess.accepted == [(4,)]
    fresh = wrap(net(), SPEC, labels_known=3)
    fill(fresh, named_tensors(twin).items())
    assert fresh.preprocess.accepted == [(4,)]
