"""``rows:p`` and ``entries:p``: which numbers, by what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from selection_nets import parted
from torch import nn

from dripstone.select.entries import entries
from dripstone.select.rows import rows
from dripstone.select.share import Draw


def model():
    made = parted(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4)))
    made.growing = frozenset({"head.weight", "head.bias"})
    return made


def scores(made, **worthy):
    """Zeros, but for single entries of parameters, given by name with dots as underscores."""
    found = {name: torch.zeros_like(p) for name, p in made.named_parameters()}
    for name, places in worthy.items():
        for place, score in places.items():
            found[name.replace("_", ".")].view(-1)[place] = score
    return found


def draw(found, known=2):
    return Draw(found, np.random.default_rng(0), 0, known)


def test_the_largest_scores_of_all_are_taken_whatever_their_sign():
    made = model()
    found = scores(made, backbone_0_weight={3: -9.0, 7: 0.1}, head_bias={1: 5.0}, backbone_1_weight={0: 1.0})
    names, parts = entries(made, 3 / 68, "gradient", draw(found))
    assert {name: part.index.tolist() for name, part in parts.items()} == {
        "backbone.0.weight": [3],
        "backbone.1.weight": [0],
        "head.bias": [1],
    }
    assert names == ["backbone.0.weight", "backbone.1.weight", "head.bias"]


def test_rows_count_by_their_mean_square_as_long_as_they_fit():
    made = model()
    found = scores(
        made,
        backbone_0_weight={4: 2.0, 5: 2.0, 6: 2.0, 7: 2.0},  # row 1
        backbone_1_weight={0: 3.0},  # a sixth of 9 in row 0
        head_weight={0: 2.1, 1: 2.0, 2: 2.0, 3: 2.0},
        backbone_0_bias={2: 1.0},
    )
    taken = {name: part.index.tolist() for name, part in rows(made, 9 / 68, "gradient", draw(found)).parts.items()}
    assert taken == {"head.weight": [0], "backbone.0.weight": [1], "backbone.0.bias": [2]}


def test_where_no_row_fits_the_worthiest_moves():
    made = parted(nn.Linear(4, 4, bias=False))
    made.head = nn.Linear(4, 2, bias=False)
    made.growing = frozenset()
    chosen = rows(made, 1e-9, "gradient", draw(scores(made, backbone_weight={9: 1.0})))
    assert chosen.parts["backbone.weight"].index.tolist() == [2]


@pytest.mark.parametrize("select", [rows, entries])
def test_all_of_it_is_whole_parameters(select):
    made = model()
    names, parts = select(made, 1.0, "random", draw({}))
    assert names == [name for name, _ in made.named_parameters()]
    assert parts == {}


def test_random_entries_are_anywhere():
    made = model()
    seen = torch.zeros(68)
    for seed in range(200):
        names, parts = entries(made, 0.1, "random", Draw(generator=np.random.default_rng(seed), known=2))
        start = 0
        for name, parameter in made.named_parameters():
            if name in names:
                seen[start + parts[name].index] += 1
            start += parameter.numel()
    assert seen.sum() == 200 * 6
    assert seen.min() > 3
    assert seen.max() < 45


def test_what_is_not_a_number_is_worth_nothing():
    made = model()
    found = scores(made, backbone_0_weight={3: float("nan"), 4: 1.0})
    names, parts = entries(made, 1 / 68, "fisher", draw(found))
    assert names == ["backbone.0.weight"]
    assert parts[names[0]].index.tolist() == [4]


@pytest.mark.parametrize("select", [rows, entries])
def test_labels_that_are_new_use_up_the_share(select):
    made = model()
    made.head = nn.Linear(4, 3)
    found = scores(made, backbone_0_weight={0: 9.0, 1: 9.0, 2: 9.0, 3: 9.0}, head_weight={0: 5.0})
    names, _ = select(made, 5 / 73, "gradient", draw(found))
    assert names == ["head.weight", "head.bias"]
    names, _ = select(made, 9 / 73, "gradient", draw(found))
    assert "backbone.0.weight" in names
