import math

import pytest
import torch

from dripstone.core.errors import ModelError
from dripstone.core.fork import changed_tensors, fork, named_tensors
from dripstone.models.head import Head, Identity, RandomFourierFeatures


def test_scores_are_the_scaled_linear_layer():
    head = Head(Identity(3), classes=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
        head.bias.copy_(torch.tensor([0.5, -0.5]))
        head.scale.fill_(10.0)
    assert head(torch.tensor([[1.0, 1.0, 1.0]])).tolist() == [[15.0, 15.0]]


def test_a_head_without_classes_gives_no_scores():
    head = Head(RandomFourierFeatures(3, 8, seed=0))
    assert head.weight.shape == (0, 11)
    assert head(torch.ones(4, 3)).shape == (4, 0)


def test_growing_keeps_the_old_bits_and_adds_zero_rows():
    head = Head(Identity(4), classes=2)
    with torch.no_grad():
        head.weight.copy_(torch.randn(2, 4))
        head.bias.copy_(torch.tensor([-0.0, 3.0]))
    old_weight, old_bias = head.weight, head.bias
    head.grow(5)
    assert torch.equal(head.weight[:2].view(torch.int32), old_weight.view(torch.int32))
    assert torch.equal(head.bias[:2].view(torch.int32), old_bias.view(torch.int32))
    assert not head.weight[2:].any()
    assert not head.bias[2:].any()
    assert isinstance(head.weight, torch.nn.Parameter)
    assert head.weight.requires_grad


def test_growing_a_fork_leaves_its_parent_alone():
    parent = Head(Identity(4), classes=2)
    twin = fork(parent, [])
    twin.grow(3)
    assert parent.weight.shape == (2, 4)
    assert list(changed_tensors(twin, parent)) == ["weight", "bias"]


def test_growing_to_the_same_number_changes_nothing():
    head = Head(Identity(4), classes=2)
    weight = head.weight
    head.grow(2)
    assert head.weight is weight


def test_a_head_does_not_shrink():
    with pytest.raises(ModelError, match="has 3 classes and cannot shrink to 2"):
        Head(Identity(4), classes=3).grow(2)


def test_features_of_another_precision_become_float32():
    assert Head(Identity(4), classes=2)(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_inner_products_approximate_the_sum_of_a_linear_and_a_gaussian_kernel():
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    expansion = RandomFourierFeatures(5, 20_000, seed=1)
    expansion.fit(features)
    scaled = features / expansion.width
    kernel = scaled @ scaled.T + torch.exp(-torch.cdist(scaled, scaled).square() / 2)
    expanded = expansion(features)
    assert torch.allclose(expanded @ expanded.T, kernel, atol=0.04)


def test_width_is_nine_tenths_of_the_median_distance():
    expansion = RandomFourierFeatures(1, 4, seed=0)
    expansion.fit(torch.tensor([[0.0], [1.0], [3.0]]))
    assert expansion.width.item() == pytest.approx(1.8)


def test_width_is_set_once():
    expansion = RandomFourierFeatures(1, 4, seed=0)
    expansion.fit(torch.tensor([[0.0], [1.0]]))
    expansion.fit(torch.tensor([[0.0], [100.0]]))
    assert expansion.width.item() == pytest.approx(0.9)


@pytest.mark.parametrize("features", [torch.ones(1, 3), torch.ones(50, 3)])
def test_rows_that_do_not_differ_give_width_one(features):
    expansion = RandomFourierFeatures(3, 4, seed=0)
    expansion.fit(features)
    assert expansion.width.item() == 1.0


def test_no_rows_leave_the_width_open():
    expansion = RandomFourierFeatures(3, 4, seed=0)
    expansion.fit(torch.ones(0, 3))
    assert expansion.width.item() == 0.0
    assert expansion(torch.ones(1, 3)).isfinite().all()


def test_duplicates_do_not_set_the_scale():
    expansion = RandomFourierFeatures(1, 4, seed=0)
    expansion.fit(torch.tensor([[0.0]] * 9 + [[2.0]]))
    assert expansion.width.item() == pytest.approx(1.8)


def test_many_rows_are_sampled_evenly():
    expansion = RandomFourierFeatures(2, 4, seed=0)
    rows = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0))
    expansion.fit(rows)
    assert expansion.width.item() == pytest.approx(0.9 * 2 * math.sqrt(math.log(2)), rel=0.05)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ModelError, match="not finite") as caught:
        RandomFourierFeatures(2, 4, seed=0).fit(torch.tensor([[math.nan, 0.0], [1.0, 2.0]]))
    assert caught.value.kind == "model.not_finite"


def test_the_projection_is_stored_never_trained_and_shared_by_forks():
    head = Head(RandomFourierFeatures(3, 8, seed=0), classes=2)
    assert list(named_tensors(head)) == [
        "weight", "bias", "scale", "penalty", "expansion.projection", "expansion.phase", "expansion.width",
    ]  # fmt: skip
    twin = fork(head, ["weight", "bias"])
    assert twin.expansion.projection.data_ptr() == head.expansion.projection.data_ptr()
    head(torch.ones(2, 3)).sum().backward()
    assert head.expansion.projection.grad is None
    assert head.weight.grad is not None


def test_the_seed_decides_and_the_global_generator_does_not_move():
    before = torch.get_rng_state()
    a, b, c = (RandomFourierFeatures(3, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(a.projection, b.projection)
    assert torch.equal(a.phase, b.phase)
    assert not torch.equal(a.projection, c.projection)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_random_features_are_refused():
    with pytest.raises(ModelError, match="0 random features"):
        RandomFourierFeatures(3, 0, seed=0)
