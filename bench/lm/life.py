"""One life: a method meets the three domains, and is measured on all of them after each."""

from __future__ import annotations

import math

import msgspec
import torch

from bench.lm.domains import Domain
from dripstone.models.language_model import LanguageModel
from dripstone.train.features import features_of

FIRST_PASSES, PASSES = 6, 2
"""Over the first domain, with which every model begins, and in retraining; over later ones, with what is replayed."""

BATCH, RATE = 8, 3e-3
"""Windows a step; learning rate, of every stage. Cosine, a tenth of warming up, clipped at 1."""

REPLAY = 1.0
"""Documents remembered, of those of a stage: half of what an update learns is old."""


class Shape(msgspec.Struct, frozen=True):
    """How large the model and its data are."""

    characters: int = 200_000
    vocabulary: int = 2048
    width: int = 128
    depth: int = 6
    heads: int = 4
    context: int = 128


class Life(msgspec.Struct, frozen=True):
    """What was lived."""

    method: str
    seed: int
    shape: Shape


class Lived(msgspec.Struct, frozen=True):
    """What came of it: ``perplexity`` [stages][domains], CPU-s and bytes kept of each stage, what the gate said."""

    life: Life
    perplexity: list[list[float]]
    cpu_seconds: list[float]
    kept_bytes: list[int]
    verdicts: list[str]
    parameters: int


def perplexities(model: LanguageModel, domains: list[Domain]) -> list[float]:
    """Of a token of each domain's measured documents."""
    found = []
    for domain in domains:
        read = features_of(model, domain.measured).double()
        found.append(math.exp(float((read[:, 0] * read[:, 1]).sum() / read[:, 0].sum())))
    return found


def parameters_of(model: torch.nn.Module) -> int:
    """How many numbers it has, those that are tied counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
