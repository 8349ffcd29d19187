"""Out-of-fold scores are those of the regression of all other rows."""

from __future__ import annotations

import pytest
import torch

from dripstone.models.head import Head, Identity
from dripstone.train.out_of_fold import PENALTIES, out_of_fold_scores


def really_left_out(rows, one_hot, prior, penalty):
    found = []
    for place in range(len(rows)):
        others = torch.arange(len(rows)) != place
        x, y = rows[others], (one_hot - prior)[others]
        system = x.T @ x + penalty * torch.eye(x.shape[1], dtype=torch.float64)
        found.append(prior[place] + rows[place] @ torch.linalg.solve(system, x.T @ y))
    return torch.stack(found)


@pytest.mark.parametrize("known", [0, 2])
@pytest.mark.parametrize("columns", [3, 40])
def test_each_row_is_left_out_of_its_own_score(known, columns):
    draw = torch.Generator().manual_seed(0)
    features, targets = torch.randn(25, columns, generator=draw), torch.randint(0, 3, (25,), generator=draw)
    logits = 5 * torch.randn(25, known, generator=draw)
    one_hot = torch.nn.functional.one_hot(targets, 3).double()
    prior = torch.zeros(25, 3, dtype=torch.float64)
    if known:
        spread, wanted = logits.double() - logits.double().mean(), one_hot[:, :known]
        prior[:, :known] = (spread * wanted).sum() / spread.square().sum() * spread + wanted.mean()
    rows = torch.cat([features.double(), torch.ones(25, 1, dtype=torch.float64)], dim=1)
    unit = float(rows.square().sum()) / 25
    found = list(out_of_fold_scores(Head(Identity(columns)), features, targets, logits, 3))
    assert len(found) == len(PENALTIES)
    for penalty, scores in zip(PENALTIES, found, strict=True):
        torch.testing.assert_close(scores, really_left_out(rows, one_hot, prior, penalty * unit), atol=1e-6, rtol=1e-6)


def test_scores_of_any_scale_become_scores_between_labels():
    targets = torch.arange(60) % 3
    logits = 40 * torch.nn.functional.one_hot(targets, 3) + 7
    for scores in out_of_fold_scores(Head(Identity(2)), torch.zeros(60, 2), targets, logits, 3):
        torch.testing.assert_close(scores, torch.nn.functional.one_hot(targets, 3).double(), atol=0.1, rtol=0)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_or_two(rows):
    targets = torch.zeros(rows, dtype=torch.int64)
    for scores in out_of_fold_scores(Head(Identity(2)), torch.ones(rows, 2), targets, torch.empty(rows, 0), 1):
        assert torch.isfinite(scores).all()
