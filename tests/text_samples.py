"""Texts of two made-up domains, and prompts with replies, that a tiny language model learns in a second."""

from __future__ import annotations

import random

from dripstone.learner import Learner
from dripstone.models import decoder

NOUNS = ["cat", "dog", "bird", "fish", "horse"]
VERBS = ["sees", "hears", "likes", "finds"]
REPLIES = {"cat": "meow", "dog": "woof", "bird": "tweet", "fish": "blub", "horse": "neigh"}


def stories(count, seed, domain="animals"):
    """Documents of a few short sentences."""
    draw = random.Random(f"{domain} {seed}")
    return [{"text": _story(draw), "domain": domain} for _ in range(count)]


def _story(draw):
    kinds = [(draw.choice(NOUNS), draw.choice(VERBS), draw.choice(NOUNS)) for _ in range(draw.randint(2, 4))]
    return " ".join(f"the {one} {verb} the {other}." for one, verb, other in kinds)


def sums(count, seed):
    """Documents of another domain: lines of numbers."""
    draw = random.Random(f"sums {seed}")
    lines = [[(draw.randint(0, 9), draw.randint(0, 9)) for _ in range(draw.randint(3, 5))] for _ in range(count)]
    return [{"text": "\n".join(f"{a} + {b} = {a + b}" for a, b in some), "domain": "sums"} for some in lines]


def exchanges(count, seed, replies=REPLIES):
    """Prompts with their replies."""
    draw = random.Random(f"exchanges {seed}")
    asked = [(draw.choice(NOUNS), draw.randint(0, 999)) for _ in range(count)]
    return [{"text": f"{number}: what does the {noun} say?", "reply": replies[noun]} for noun, number in asked]


def noise(count, seed):
    """Documents of characters without any order."""
    draw = random.Random(f"noise {seed}")
    return [{"text": "".join(draw.choices("abcdefghij .", k=60)), "domain": "noise"} for _ in range(count)]


def tiny(**chosen):
    """A decoder of 30,000 parameters over bytes."""
    return decoder(**{"tokenizer": "bytes", "width": 32, "depth": 2, "heads": 2, "context": 64, **chosen})


def make_texts(folder, settings=None, model=None, target=None):
    """A project for texts, without a row, with a fixed key."""
    quick = {"train.learning_rate": 0.01, "train.batch_size": 4, "train.stop.epochs": 3, "gate.minimum": 20}
    learner = Learner.create(
        folder / "project",
        model=model or tiny(),
        task="causal_lm",
        target=target,
        settings={**quick, **(settings or {})},
    )
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes(32))
    return learner
