"""Where the frozen blocks end, what they return, and a model that runs to them or past them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from dripstone.core.blocks import find_blocks
from dripstone.core.fork import fork
from dripstone.core.records import Spec
from dripstone.models import mlp, text_classifier
from dripstone.models.classifier import Classifier
from dripstone.models.wrap import wrap
from dripstone.select.selection import parse_selection
from dripstone.train.modes import evaluating
from dripstone.train.prefix import (
    Layout,
    Prefix,
    Unfit,
    find_cut,
    measure,
    moved_buffers,
    replaced_forward,
    row_digests,
    see_layout,
    undisturbed,
    watching,
)

MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
FLAT = measure(torch.zeros(2, 4), 2)
WORDS = measure({"attention_mask": MASK}, 2)


def wrapped(*layers: nn.Module) -> Classifier:
    return wrap(nn.Sequential(*layers, nn.Linear(4, 2)), Spec("tests:net"), random_features=8)


def chosen(model: Classifier, selection: str) -> list[str]:
    return parse_selection(selection).parameters(model)


@pytest.mark.parametrize(
    ("selection", "cut"),
    [("head@adamw", 4), ("suffix:1", 3), ("suffix:2", 2), ("suffix:3", 1), ("suffix:4", 0), ("full", 0)],
)
def test_the_cut_lies_below_the_lowest_trained_block(selection, cut):
    model = mlp(inputs=4, hidden=[4, 4, 4, 4], random_features=8)
    assert find_cut(model, chosen(model, selection)) == cut


def test_embeddings_leave_nothing_to_cache(encoder_folder: Path):
    model = text_classifier(encoder=str(encoder_folder))
    assert find_cut(model, chosen(model, "suffix:1")) == 1
    assert find_cut(model, ["backbone.encoder.embeddings.LayerNorm.bias"]) == 0


class Normed(nn.Module):
    """Blocks, a norm after them, an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 2)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.blocks(batch)))


def test_what_comes_after_the_blocks_cuts_nothing():
    model = wrap(Normed(), Spec("tests:net"), random_features=8)
    assert find_blocks(model.backbone) == ["module.blocks.0", "module.blocks.1"]
    assert find_cut(model, ["backbone.module.norm.weight"]) == 2


def test_a_block_in_the_middle():
    model = mlp(inputs=4, hidden=[4, 4, 4], random_features=8)
    assert find_cut(model, ["backbone.1.0.bias"]) == 1


def test_more_than_ten_blocks():
    model = mlp(inputs=4, hidden=[4] * 12, random_features=8)
    assert find_cut(model, ["backbone.10.0.bias"]) == 10
    assert find_cut(model, ["backbone.1.0.bias", "backbone.11.0.bias"]) == 1


def test_a_model_without_blocks():
    assert find_cut(mlp(inputs=4, random_features=8), ["head.weight"]) == 0


def test_a_block_that_is_tied_to_a_trained_one_is_not_frozen():
    model = wrapped(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model.backbone.module[2].weight = model.backbone.module[1].weight
    assert find_cut(model, ["backbone.module.2.bias"]) == 2
    assert find_cut(model, ["backbone.module.2.weight"]) == 1
    assert find_cut(model, ["backbone.module.1.weight"]) == 1


def test_a_block_that_shares_the_memory_of_a_trained_weight_is_not_frozen():
    model = wrapped(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model.backbone.module[0].weight = nn.Parameter(model.backbone.module[2].weight.detach())
    assert find_cut(model, ["backbone.module.2.bias"]) == 2
    assert find_cut(model, ["backbone.module.2.weight"]) == 0


def test_a_head_that_is_tied_to_the_first_block():
    model = wrapped(nn.Linear(4, 4), nn.Linear(4, 4))
    model.head.weight = model.backbone.module[0].weight
    assert find_cut(model, ["head.weight"]) == 0


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="nowhere"):
        find_cut(mlp(inputs=4, random_features=8), ["head.nowhere"])


def test_the_extent_of_a_batch():
    assert (WORDS.lengths, WORDS.padded) == ([3, 1], True)
    assert (FLAT.lengths, FLAT.padded) == ([1, 1], False)
    assert not measure({"attention_mask": torch.ones(2, 3)}, 2).padded
    assert WORDS.has_tokens(torch.zeros(2, 3, 5))
    assert not WORDS.has_tokens(torch.zeros(2, 5, 3))
    assert not FLAT.has_tokens(torch.zeros(2, 3))


@pytest.mark.parametrize("batch", [torch.zeros(3, 4), {"a": torch.zeros(2, 4), "b": torch.zeros(())}, {"a": [1, 2]}, 7])
def test_a_batch_with_other_rows_is_unfit(batch):
    with pytest.raises(Unfit, match="rows in their first dimension"):
        measure(batch, 2)


@pytest.mark.parametrize("mask", [[[0, 1, 1]], [[1, 0, 1]]])
def test_padding_has_to_be_on_the_right(mask):
    with pytest.raises(Unfit, match="not padded on the right"):
        measure({"attention_mask": torch.tensor(mask)}, 1)


def test_a_row_has_the_same_digest_however_it_is_padded():
    short = {"input_ids": torch.tensor([[7]]), "attention_mask": torch.tensor([[1]])}
    both = {"input_ids": torch.tensor([[5, 6, 7], [7, 0, 0]]), "attention_mask": MASK}
    other = {"input_ids": torch.tensor([[5, 6, 7], [8, 0, 0]]), "attention_mask": MASK}
    (alone,) = row_digests(short, measure(short, 1))
    assert row_digests(both, WORDS)[1] == alone
    assert row_digests(other, WORDS)[1] != alone
    assert row_digests(other, WORDS)[0] == row_digests(both, WORDS)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.complex64])
def test_rows_of_any_kind_have_digests(dtype):
    batch = torch.tensor([[0, 1], [1, 1], [0, 1]]).to(dtype)
    first, second, third = row_digests(batch, measure(batch, 3))
    assert first == third != second


def test_the_tokens_of_a_row_without_padding_and_back():
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    layout = see_layout(values, values[:, :2], WORDS)
    assert (layout.items, layout.per_token, layout.trailing) == (0, True, (2, 2))
    vectors = layout.to_vectors(values, WORDS)
    assert vectors.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    again = layout.to_values(vectors, WORDS)
    assert torch.equal(again[0], values[0])
    assert torch.equal(again[1, 0], values[1, 0])
    assert not again[1, 1:].any()
    assert (layout.counts(WORDS), layout.counts(FLAT)) == ([3, 1], [1, 1])


@pytest.mark.parametrize("shape", [(2,), (2, 5), (2, 3, 4, 4)])
def test_activations_without_tokens_and_back(shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layout = see_layout(values, None, FLAT)
    assert torch.equal(layout.to_values(layout.to_vectors(values, FLAT), FLAT), values)


def test_a_width_that_is_the_length_of_the_texts_is_no_token():
    values = torch.ones(2, 3)
    assert see_layout(values, values, WORDS) == Layout(0, False, (3,), torch.float32, torch.device("cpu"))


def test_a_tuple_whose_other_items_are_none():
    values = torch.ones(2, 3, 4)
    layout = see_layout((values, None), None, WORDS)
    assert layout.items == 2
    assert layout.to_vectors((values, None), WORDS).shape == (4, 4)
    first, second = layout.wrap(values)
    assert first is values
    assert second is None
    assert see_layout((values,), None, WORDS).wrap(values) == (values,)


@pytest.mark.parametrize(
    "output",
    [
        (torch.ones(2), torch.ones(2)),
        [torch.ones(2)],
        {"hidden": torch.ones(2)},
        (),
        None,
        torch.ones(2, dtype=torch.int64),
        torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
    ],
)
def test_other_results_are_unfit(output):
    with pytest.raises(Unfit, match="something else than one tensor"):
        see_layout(output, None, FLAT)


def test_shapes_that_are_unfit():
    with pytest.raises(Unfit, match="first dimension"):
        see_layout(torch.ones(3, 2), None, FLAT)
    with pytest.raises(Unfit, match="change their shape"):
        see_layout(torch.ones(2, 4, 3), torch.ones(2, 4, 2), WORDS)
    layout = see_layout(torch.ones(2, 4), None, FLAT)
    for other in (torch.ones(2, 5), torch.ones(3, 4), torch.ones(2, 4).double(), (torch.ones(2, 4),)):
        with pytest.raises(Unfit, match="change their shape"):
            layout.to_vectors(other, FLAT)


def three_blocks() -> tuple[Classifier, Prefix]:
    model = mlp(inputs=4, hidden=[4, 5, 6], random_features=8)
    return model, Prefix(model, chosen(model, "suffix:1"))


def test_a_run_up_to_the_cut_computes_nothing_after_it():
    model, prefix = three_blocks()
    batch = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with watching(prefix.blocks) as seen:
        found = prefix.run(batch)
    assert [index for index, _ in seen] == [0, 1]
    assert torch.equal(found, model.backbone[:2](batch))
    assert not found.requires_grad


def test_a_run_that_never_comes_to_the_cut():
    model, prefix = three_blocks()
    model.backbone.forward = lambda batch: batch  # type: ignore[method-assign]
    with pytest.raises(Unfit, match="one after another"):
        prefix.run(torch.zeros(1, 4))


def test_what_is_watched_is_a_copy():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    with watching([net[0]]) as seen:
        net(torch.tensor([[-5.0, 5.0]]))
    assert torch.equal(seen[0][1], net[0](torch.tensor([[-5.0, 5.0]])))


def test_skipped_blocks_return_what_they_are_told_as_often_as_they_are_asked():
    model, prefix = three_blocks()
    batch, values = torch.zeros(3, 4), torch.rand(3, 5)
    extent = measure(batch, 3)
    layouts = [see_layout(torch.ones(3, width), None, extent) for width in (4, 5)]
    with prefix.skipping(values, layouts, extent):
        expected = model.backbone[2](values)
        model.backbone[1](batch).add_(1)
        assert torch.equal(model.backbone(batch), expected)
        assert not model.backbone[0](batch).any()
    with prefix.skipping(values, layouts, extent, poison=True):
        assert model.backbone[0](batch).isnan().all()
    assert "forward" not in model.backbone[0].__dict__


def test_forward_is_put_back_after_an_error():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    mine = second.forward = lambda x: x  # type: ignore[method-assign]

    def fail() -> None:
        with replaced_forward([first, second], [lambda x: x + 1] * 2):
            assert torch.equal(first(torch.zeros(2)), torch.ones(2))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert "forward" not in first.__dict__
    assert second.forward is mine


def test_tensors_are_those_of_the_frozen_blocks_and_before(encoder_folder: Path):
    model = text_classifier(encoder=str(encoder_folder))
    names = Prefix(model, chosen(model, "suffix:1")).tensors
    parts = {name.removeprefix("backbone.encoder.").rsplit(".", 2)[0] for name in names}
    assert {name.split(".")[2] for name in names} == {"embeddings", "encoder"}
    assert not any("layer.1" in part for part in parts)
    assert "backbone.encoder.encoder.layer.0.output.dense.weight" in names
    assert "backbone.encoder.embeddings.position_ids" in names


def test_frozen_tensors_that_stand_after_the_blocks_may_count_as_well():
    prefix = Prefix(wrap(Normed(), Spec("tests:net"), random_features=8), ["backbone.module.blocks.1.bias"])
    assert sorted(prefix.tensors) == [
        "backbone.module.blocks.0.bias",
        "backbone.module.blocks.0.weight",
        "backbone.module.norm.bias",
        "backbone.module.norm.weight",
    ]


def test_the_stamp_moves_with_a_frozen_weight_alone():
    model, prefix = three_blocks()
    stamp = prefix.stamp()
    with torch.no_grad():
        model.backbone[2][0].weight.add_(1)
    assert prefix.stamp() == stamp
    with torch.no_grad():
        model.backbone[1][0].weight.add_(1)
    assert prefix.stamp() != stamp


def test_forks_differ_by_what_lies_below_the_cut():
    model, prefix = three_blocks()
    names = chosen(model, "full")
    twin = fork(model, names)
    assert not Prefix(twin, prefix.chosen).differs_from(prefix)
    with torch.no_grad():
        twin.backbone[2][0].weight.add_(1)
    assert not Prefix(twin, prefix.chosen).differs_from(prefix)
    with torch.no_grad():
        twin.backbone[0][0].weight.add_(1)
    assert Prefix(twin, prefix.chosen).differs_from(prefix)


def counting() -> nn.Module:
    net = nn.BatchNorm1d(2)
    net.register_buffer("nothing", torch.tensor([float("nan"), 1.0]))
    net.register_buffer("phases", torch.tensor([1 + 1j]), persistent=False)
    return net


def test_nothing_is_left_disturbed():
    net = nn.Sequential(counting(), nn.Linear(2, 2))
    net[1].bias.requires_grad_(False)
    net[0].train()
    net[1].eval()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    objects = {name: id(buffer) for name, buffer in net.named_buffers()}
    with undisturbed(net, [net[1].bias]) as buffers:  # type: ignore[arg-type]
        assert not any(part.training for part in net.modules())
        assert [parameter.requires_grad for parameter in net.parameters()] == [False, False, False, True]
        assert moved_buffers(net, buffers) == set()  # type: ignore[arg-type]
        net[0].running_mean = torch.ones(2)
        net[0].num_batches_tracked.add_(1)
        assert moved_buffers(net, buffers) == {"0.running_mean", "0.num_batches_tracked"}  # type: ignore[arg-type]
    assert {name: id(buffer) for name, buffer in net.named_buffers()} == objects
    for name, buffer in net.named_buffers():
        assert torch.isclose(buffer, before[name], rtol=0, atol=0, equal_nan=True).all()
    assert [parameter.requires_grad for parameter in net.parameters()] == [True, True, True, False]
    assert [part.training for part in net] == [True, False]


def test_modes_come_back_after_an_error():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    net[1].eval()

    def fail() -> None:
        with evaluating(net):
            assert not net.training
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (net.training, net[0].training, net[1].training) == (True, True, False)


def hooked(place: Sequence[int], method: str) -> str | None:
    model = mlp(inputs=4, hidden=[4, 5, 6], random_features=8)
    module = model.backbone
    for index in place:
        module = module[index]
    getattr(module, method)(lambda *_: None)
    return Prefix(model, chosen(model, "suffix:1")).reason()


@pytest.mark.parametrize("method", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_below_the_cut_are_a_reason(method):
    assert hooked([0], method) == "backbone.0 has a forward hook"
    assert hooked([1, 1], method) == "backbone.1.1 has a forward hook"
    assert hooked([2], method) is None
    assert hooked([2, 0], method) is None


def test_a_hook_around_the_blocks_is_a_reason_where_it_comes_before_them():
    assert hooked([], "register_forward_pre_hook") == "backbone has a forward hook"
    assert hooked([], "register_forward_hook") is None
