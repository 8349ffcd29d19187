"""Elastic weight consolidation: the Fisher information by hand, and what estimating it leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dripstone.core.fork import named_tensors
from dripstone.core.records import Spec
from dripstone.models import mlp
from dripstone.models.classifier import Classifier
from dripstone.models.wrap import wrap
from dripstone.train.ewc import FISHER_ROWS, ElasticWeightConsolidation, fisher_diagonal
from dripstone.train.features import features_of


def make(classes: int = 3, dropout: float = 0.0) -> Classifier:
    model = mlp(inputs=4, hidden=[6], random_features=8, dropout=dropout)
    model.fit(rows(20))
    model.head.fit(features_of(model, rows(20)))
    model.head.grow(classes)
    torch.manual_seed(0)
    with torch.no_grad():
        model.head.weight.normal_()
        model.head.scale.fill_(3.0)
    return model


def rows(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(count, 4)).astype("f4"))


def targets(count: int, classes: int = 3) -> torch.Tensor:
    return torch.arange(count) % classes


def by_hand(model: Classifier, inputs: list[np.ndarray], labels: torch.Tensor, weights: torch.Tensor):
    """Of the head: the gradient of a row's cross-entropy is scale x (answer - label) x features."""
    with torch.no_grad():
        phi = model.head.expand(model.features(model.collate(inputs)))
        wrong = model(model.collate(inputs)).softmax(dim=1) - nn.functional.one_hot(labels, len(model.head.bias))
    squares = (model.head.scale * wrong).square() * (weights / weights.sum())[:, None]
    return squares.T @ phi.square(), squares.sum(dim=0)


def test_the_penalty_is_the_hand_computed_one():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    term = ElasticWeightConsolidation(0.1, [parameter], [torch.tensor([0.0, 4.0])], [torch.tensor([5.0, 0.5])])
    assert term.loss().item() == pytest.approx(0.1 / 2 * (5 * 1 + 0.5 * 4))
    term.loss().backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([0.1 * 5 * 1, 0.1 * 0.5 * -2])


def test_of_a_parameter_that_grew_the_old_rows_are_held():
    weight = nn.Parameter(torch.ones(3, 2))
    term = ElasticWeightConsolidation(1.0, [weight], [torch.zeros(1, 2)], [torch.tensor([[2.0, 4.0]])])
    assert term.loss().item() == pytest.approx(3.0)
    term.loss().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[2.0, 4.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("weights", [torch.ones(10), torch.arange(1.0, 11.0)])
def test_the_fisher_information_of_the_head_is_the_hand_computed_one(weights):
    model, inputs, labels = make(), rows(10), targets(10)
    chosen = [model.head.weight, model.head.bias]
    found = fisher_diagonal(model, chosen, inputs, labels, weights, known=3)
    for value, expected in zip(found, by_hand(model, inputs, labels, weights), strict=True):
        assert torch.allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_deep_parameters_get_the_mean_of_squares_not_the_square_of_means():
    model, inputs, labels = make(), rows(10), targets(10)
    first = model.backbone[0][0].weight
    (found,) = fisher_diagonal(model, [first], inputs, labels, torch.ones(10), known=3)
    gradients = []
    for row, label in zip(inputs, labels, strict=True):
        loss = nn.functional.cross_entropy(model(model.collate([row])), label[None])
        gradients.append(torch.autograd.grad(loss, first)[0])
    expected = torch.stack(gradients).square().mean(dim=0)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found, torch.stack(gradients).mean(dim=0).square(), rtol=0.1)


def test_known_features_spare_the_backbone_and_change_nothing():
    model, inputs, labels = make(), rows(10), targets(10)
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    features = features_of(model, inputs)
    calls.clear()
    short = fisher_diagonal(model, [model.head.weight], [], labels, torch.ones(10), 3, features)
    assert not calls
    handle.remove()
    (long,) = fisher_diagonal(model, [model.head.weight], inputs, labels, torch.ones(10), 3)
    assert torch.allclose(short[0], long, rtol=1e-4, atol=1e-7)


def test_labels_that_the_champion_did_not_know_have_no_say():
    small = make(classes=2)
    grown = make(classes=2)
    grown.head.grow(4)
    labels = targets(10, classes=2)
    (before,) = fisher_diagonal(small, [small.head.weight], rows(10), labels, torch.ones(10), known=2)
    (after,) = fisher_diagonal(grown, [grown.head.weight], rows(10), labels, torch.ones(10), known=2)
    assert torch.allclose(after[:2], before, rtol=1e-5, atol=1e-8)
    assert not after[2:].any()


def test_one_known_label_is_certain_whatever_moves():
    model = make(classes=1)
    (found,) = fisher_diagonal(model, [model.head.weight], rows(4), torch.zeros(4).long(), torch.ones(4), known=1)
    assert not found.any()


def test_a_parameter_that_no_row_reaches_gets_zeros():
    model = make()
    model.spare = nn.Parameter(torch.ones(3))
    spare, bias = fisher_diagonal(model, [model.spare, model.head.bias], rows(4), targets(4), torch.ones(4), known=3)
    assert spare.tolist() == [0.0, 0.0, 0.0]
    assert bias.any()


def test_no_rows_make_zeros():
    model = make()
    (found,) = fisher_diagonal(model, [model.head.bias], [], targets(0), torch.ones(0), known=3)
    assert found.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("count", "looked_at"), [(10, 10), (FISHER_ROWS, FISHER_ROWS), (1000, FISHER_ROWS)])
def test_at_most_256_rows_are_looked_at_evenly_spaced(count, looked_at):
    model, seen = make(), []
    inputs = [np.full(4, i, dtype="f4") for i in range(count)]
    model.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 0]))
    expected = model.collate(inputs)[:, 0]
    fisher_diagonal(model, [model.head.bias], inputs, targets(count), torch.ones(count), known=3)
    assert len(seen) == looked_at
    spaced = expected[torch.arange(looked_at) * count // looked_at]
    assert torch.equal(torch.cat(seen), spaced)


def normalised() -> Classifier:
    """A module of a user's with every kind of layer that has a mode, and a frozen one."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.9), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    model = wrap(net, Spec("tests:net"), random_features=16)
    model.head.grow(3)
    with torch.no_grad():
        model.head.weight.normal_()
    return model


def test_nothing_is_left_behind():
    model = normalised()
    model.train()
    model.backbone.module[1].eval()
    model.backbone.module[0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    chosen = [model.backbone.module[0].weight, model.head.bias]  # one that is frozen as yet
    with torch.no_grad():
        frozen, bias = fisher_diagonal(model, chosen, rows(5), targets(5), torch.ones(5), known=3)
    assert frozen.any()
    assert bias.any()
    assert not frozen.requires_grad
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_tensors(model).items())


def test_it_runs_in_eval_mode_so_dropout_does_not_matter():
    dropping, plain = make(dropout=0.9), make(dropout=0.0)
    dropping.train()
    weights = torch.ones(6)
    (a,) = fisher_diagonal(dropping, [dropping.head.weight], rows(6), targets(6), weights, known=3)
    (b,) = fisher_diagonal(plain, [plain.head.weight], rows(6), targets(6), weights, known=3)
    assert torch.equal(a, b)


def test_an_error_on_the_way_leaves_the_model_as_it_was():
    model = normalised().train()
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(IndexError):
        fisher_diagonal(model, [model.head.bias], rows(2), torch.tensor([0, 9]), torch.ones(2), known=3)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
