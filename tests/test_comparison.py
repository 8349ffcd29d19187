"""Two versions side by side."""

import copy

import pytest
import torch
from torch import nn

from dripstone.comparison import compare_answers, compare_tensors
from dripstone.models import mlp
from learner_samples import blobs, make, relabelled, trained


def test_equal_modules_differ_in_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert compare_tensors(net, copy.deepcopy(net)) == []


def test_changed_elements_are_counted_by_their_bits():
    old = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).to(torch.bfloat16)
    new = copy.deepcopy(old)
    with torch.no_grad():
        new[2].weight[0, 1] += 1
        old[0].bias.copy_(torch.tensor([0.0, float("nan"), 1.0]))
        new[0].bias.copy_(torch.tensor([-0.0, float("nan"), 1.0]))
    assert compare_tensors(old, new) == [
        {"block": "0", "name": "0.bias", "old_shape": [3], "new_shape": [3], "changed": 1, "elements": 3},
        {"block": "2", "name": "2.weight", "old_shape": [1, 3], "new_shape": [1, 3], "changed": 1, "elements": 3},
    ]


@pytest.mark.parametrize(("old", "new"), [(2, 5), (5, 2), (0, 4), (4, 0)])
def test_a_layer_of_another_size_is_listed_in_both_directions(old, new):
    one, two = nn.Linear(3, old or 1), nn.Linear(3, new or 1)
    for net, size in ((one, old), (two, new)):
        net.weight, net.bias = nn.Parameter(torch.ones(size, 3)), nn.Parameter(torch.ones(size))
    rows = {row["name"]: row for row in compare_tensors(one, two)}
    assert set(rows) == {"weight", "bias"}
    assert rows["weight"]["changed"] == 3 * abs(old - new)
    assert rows["weight"]["elements"] == 3 * max(old, new)
    assert (rows["bias"]["old_shape"], rows["bias"]["new_shape"]) == ([old], [new])


def test_a_scalar_a_new_tensor_and_another_dtype_count_whole():
    old, new = nn.Module(), nn.Module()
    old.register_buffer("scale", torch.tensor(1.0))
    new.register_buffer("scale", torch.tensor(2.0))
    old.register_buffer("kind", torch.zeros(4))
    new.register_buffer("kind", torch.zeros(4, dtype=torch.float64))
    new.register_buffer("more", torch.zeros(3))
    rows = {row["name"]: (row["changed"], row["old_shape"]) for row in compare_tensors(old, new)}
    assert rows == {"scale": (1, []), "kind": (4, [4]), "more": (3, None)}


def test_diff_of_two_versions(tmp_path):
    learner = make(tmp_path, model=mlp(2, (8, 8), 64))
    first = learner.update(blobs(150, seed=0)).version
    second = learner.update(blobs(60, seed=1, labels="abc"), settings={"select.selection": "suffix:1"}).version
    result = learner.diff(first[:10], second[:10])
    assert (result["old"], result["new"]) == (first, second)
    blocks = {row["block"] for row in result["tensors"]}
    assert blocks == {"backbone.1", "head"}
    grown = next(row for row in result["tensors"] if row["name"] == "head.weight")
    assert (grown["old_shape"][0], grown["new_shape"][0]) == (2, 3)
    back = learner.diff(second, first)
    assert {row["name"] for row in back["tensors"]} == {row["name"] for row in result["tensors"]}
    assert (back["flips"]["better"], back["flips"]["worse"]) == (result["flips"]["worse"], result["flips"]["better"])


def test_flips_are_told_with_their_targets(tmp_path):
    learner = trained(tmp_path)
    first = learner.log()[0].version
    bad = learner.update(relabelled(blobs(1200, seed=1)), settings={"gate.sense": 0.99}).version
    flips = learner.diff(first, bad)["flips"]
    assert flips["rows"] == len(learner.repository.read_state(first).trusted)
    assert flips["worse"] == len(flips["flipped"]) > 20
    assert flips["better"] == flips["other"] == 0
    one = flips["flipped"][0]
    assert one["old"] == one["target"] != one["new"]


def test_a_version_without_labels_answers_nothing(tmp_path):
    learner = trained(tmp_path)
    root = learner.log()[-1].version
    result = learner.diff(root, "live")
    assert result["flips"]["better"] == len(result["flips"]["flipped"]) == result["flips"]["rows"]
    assert {row["old"] for row in result["flips"]["flipped"]} == {None}
    assert learner.diff("live", "live") == {
        "old": learner.log()[0].version,
        "new": learner.log()[0].version,
        "tensors": [],
        "flips": {
            "kind": "classification",
            "rows": result["flips"]["rows"],
            "better": 0,
            "worse": 0,
            "other": 0,
            "flipped": [],
        },
    }


def test_without_trusted_rows_nothing_flips(tmp_path):
    champion = make(tmp_path).champion()
    assert compare_answers(champion, champion, []) == {
        "kind": "classification",
        "rows": 0,
        "better": 0,
        "worse": 0,
        "other": 0,
        "flipped": [],
    }
