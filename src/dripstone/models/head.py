"""The output layer that grows: a linear layer over features, or over random features of them."""

from __future__ import annotations

import math

import torch
from torch import nn

from dripstone.core.errors import ModelError

PENALTY = 0.05
"""Of the closed form, until leave-one-out has chosen another on the first rows."""

FIT_ROWS = 1000


class Identity(nn.Module):
    """No expansion: the linear layer sees the features as they are.

    Parameters
    ----------
    size : int
        Number of features.

    Examples
    --------
    >>> Identity(3)(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = self.features = size

    def fit(self, features: torch.Tensor) -> None:
        """Nothing to learn."""

    def refit(self, features: torch.Tensor) -> None:
        """Nothing to learn anew."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, size] -> [rows, size]."""
        return features


class RandomFourierFeatures(nn.Module):
    """The features themselves, and fixed random cosines of them.

    A linear layer over both approximates a kernel machine whose kernel is the sum of a linear and a Gaussian one. What
    the linear part is worth stands in ``docs/design/005-closed-form-head.md``.

    Parameters
    ----------
    features : int
        Number of features that come in.
    random_features : int
        Number of random features.
    seed : int
        Of the random projection.

    Attributes
    ----------
    projection : torch.nn.Parameter
        [features, random_features] float32, standard normal. It never moves, yet it is a parameter, so that forks
        share it.
    phase : torch.nn.Parameter
        [random_features] float32, uniform from 0 to 2 pi; never moves either.
    width : torch.Tensor
        [] float32, the kernel's width in units of the features; 0 until ``fit``, and used as 1 until then.
    features : int
        Number of columns that come in.
    size : int
        Number of columns that go out: ``features + random_features``.

    References
    ----------
    Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007. McDonnell et al., "RanPAC:
    Random Projections and Pre-trained Models for Continual Learning", arXiv 2307.02251.

    Examples
    --------
    >>> expansion = RandomFourierFeatures(4, 16, seed=0)
    >>> expansion.fit(torch.randn(20, 4))
    >>> expansion(torch.randn(2, 4)).shape
    torch.Size([2, 20])
    """

    width: torch.Tensor

    def __init__(self, features: int, random_features: int, seed: int) -> None:
        super().__init__()
        if random_features < 1:
            raise ModelError(
                f"{random_features} random features make no head", remedy="set random_features to at least 1"
            )
        generator = torch.Generator().manual_seed(seed)
        projection = torch.randn(features, random_features, generator=generator)
        phase = torch.rand(random_features, generator=generator) * (2 * math.pi)
        self.features = features
        self.size = features + random_features
        self.projection = nn.Parameter(projection, requires_grad=False)
        self.phase = nn.Parameter(phase, requires_grad=False)
        self.register_buffer("width", torch.tensor(0.0))

    def fit(self, features: torch.Tensor) -> None:
        """Set the width to 0.9 of the median distance of two rows that differ; once set, it stays.

        Parameters
        ----------
        features : torch.Tensor
            [rows, features]. At most 1,000 rows, evenly spaced, are looked at. No row leaves the width open.

        Raises
        ------
        ModelError
            If a feature is not finite.
        """
        if self.width.item() != 0.0 or len(features) == 0:
            return
        self.width.fill_(_median_distance(features))

    def refit(self, features: torch.Tensor) -> None:
        """Set the width anew, for features of another backbone; without rows it stays."""
        if len(features):
            self.width.fill_(_median_distance(features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, size]."""
        scaled = features / torch.where(self.width > 0, self.width, 1.0)
        cosines = math.sqrt(2 / len(self.phase)) * torch.cos(scaled @ self.projection + self.phase)
        return torch.cat([scaled, cosines], dim=1)


def _median_distance(features: torch.Tensor) -> float:
    rows = len(features)
    looked_at = min(rows, FIT_ROWS)
    chosen = features.detach()[torch.arange(looked_at, device=features.device) * rows // looked_at].float().cpu()
    if not torch.isfinite(chosen).all():
        raise ModelError(
            "the backbone gives features that are not finite",
            remedy="mend the backbone's weights or the scale of its inputs",
            kind="model.not_finite",
        )
    distances = torch.pdist(chosen)
    distances = distances[distances > 0]  # equal rows say nothing about the scale
    return 0.9 * distances.median().item() if len(distances) else 1.0


class Head(nn.Module):
    """Scores of the classes: ``scale * (expand(features) @ weight.T + bias)``.

    Parameters
    ----------
    expansion : Identity or RandomFourierFeatures
        What the linear layer sees of the features.
    classes : int
        Classes to begin with, all with zero rows; 0 is allowed.

    Attributes
    ----------
    features : int
        Number of columns that the expansion takes.
    weight : torch.nn.Parameter
        [classes, expanded] float32.
    bias : torch.nn.Parameter
        [classes] float32.
    scale : torch.Tensor
        [] float32 buffer that turns scores into logits, or into numbers: their usual error; 1 at first.
    penalty : torch.Tensor
        [] float32 buffer: the closed form's penalty, chosen on the first rows.

    Examples
    --------
    >>> head = Head(Identity(3))
    >>> head.grow(2)
    >>> head(torch.ones(5, 3)).shape
    torch.Size([5, 2])
    """

    scale: torch.Tensor
    penalty: torch.Tensor

    def __init__(self, expansion: Identity | RandomFourierFeatures, classes: int = 0) -> None:
        super().__init__()
        self.expansion = expansion
        self.features = expansion.features
        self.weight = nn.Parameter(torch.zeros(classes, expansion.size))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("penalty", torch.tensor(PENALTY))

    def expand(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, expanded] float32."""
        return self.expansion(features.float())

    def fit(self, features: torch.Tensor) -> None:
        """Let the expansion learn from the first stage's [rows, features]; later calls do nothing."""
        self.expansion.fit(features)

    def refit(self, features: torch.Tensor) -> None:
        """Let the expansion learn anew from another backbone's [rows, features]; the old weights mean nothing then."""
        self.expansion.refit(features)

    def grow(self, classes: int) -> None:
        """Append zero rows until there are ``classes``; the old rows keep their bits.

        Raises
        ------
        ModelError
            If there are more classes already.
        """
        known = len(self.bias)
        if classes < known:
            raise ModelError(
                f"the head has {known} classes and cannot shrink to {classes}",
                remedy="ask for at least as many classes as it has",
                kind="model.classes",
            )
        if classes > known:
            self.weight = _with_zero_rows(self.weight, classes - known)
            self.bias = _with_zero_rows(self.bias, classes - known)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[rows, features] -> [rows, classes] logits."""
        return self.scale * nn.functional.linear(self.expand(features), self.weight, self.bias)


def _with_zero_rows(parameter: nn.Parameter, count: int) -> nn.Parameter:
    rows = parameter.new_zeros((count, *parameter.shape[1:]))
    return nn.Parameter(torch.cat([parameter.detach(), rows]), requires_grad=parameter.requires_grad)
