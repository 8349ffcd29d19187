"""The champion's logits of windows of texts: of the tokens that are asked for, and of no others."""

import torch

from dripstone.core.losses import IGNORED
from dripstone.train.distillation import Distillation
from dripstone.train.held_logits import HeldTokens
from text_samples import stories, tiny


def held(weights=None):
    model = tiny()
    windows, targets = model.windows([[row["text"] for row in stories(8, seed=1)]])[0]
    weights = torch.ones(len(windows)) if weights is None else weights
    return model, windows, targets, HeldTokens(model, windows, targets, weights)


def test_a_version_beside_itself_is_the_same():
    model, windows, targets, term = held()
    index = torch.arange(len(windows)).flip(0)
    scores = model(model.collate([windows[i] for i in index.tolist()]))
    mine, theirs, weights = term.beside(scores, index)
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert mine.shape == (int((targets != IGNORED).sum()), 258)
    assert torch.isclose(weights.sum(), torch.tensor(float(len(windows))))
    assert abs(float(Distillation(1.0, term).loss(scores, index).detach())) < 1e-5
    assert scores.requires_grad
    assert not theirs.requires_grad


def test_windows_that_do_not_count_are_not_asked_for():
    model, windows, targets, _ = held()
    weights = torch.zeros(len(windows))
    weights[0] = 2.0
    *_, term = held(weights)
    scores = model(model.collate(windows))
    mine, _, shares = term.beside(scores, torch.arange(len(windows)))
    assert len(mine) == int((targets[0] != IGNORED).sum())
    assert torch.isclose(shares.sum(), torch.tensor(2.0))
    nothing = term.beside(scores[1:], torch.arange(1, len(windows)))
    assert [len(part) for part in nothing] == [0, 0, 0]
    assert float(Distillation(1.0, term).loss(scores[1:], torch.arange(1, len(windows))).detach()) == 0.0
