"""Pairs of texts that a tiny encoder-decoder learns in seconds: animals and what they say, in two languages."""

from __future__ import annotations

import random

from dripstone.learner import Learner
from dripstone.models import seq2seq

SOUNDS = {"cat": "meow", "dog": "woof", "bird": "tweet", "fish": "blub", "horse": "neigh"}
LAUTE = {"Katze": "miau", "Hund": "wau", "Vogel": "piep", "Kuh": "muh", "Schaf": "mäh"}


def asked(count, seed, sounds=SOUNDS, domain="english"):
    """Prompts with their replies, all different."""
    draw = random.Random(f"{domain} {seed}")
    numbers = draw.sample(range(1000), count)
    names = [draw.choice(list(sounds)) for _ in numbers]
    return [
        {"text": f"{number} {name}", "reply": sounds[name], "domain": domain}
        for number, name in zip(numbers, names, strict=True)
    ]


def tiny(**chosen):
    """An encoder-decoder of 70,000 parameters over bytes."""
    sizes = {"tokenizer": "bytes", "width": 32, "depth": 2, "heads": 2, "context": 32, "reply": 12}
    return seq2seq(**{**sizes, **chosen})


def make_pairs(folder, settings=None, model=None):
    """A project for pairs, without a row, with a fixed key."""
    quick = {"train.learning_rate": 0.01, "train.batch_size": 2, "train.stop.epochs": 6, "gate.minimum": 20}
    learner = Learner.create(
        folder / "project", model=model or tiny(), task="seq2seq", settings={**quick, **(settings or {})}
    )
    (learner.repository.path / "training" / "holdout.key").write_bytes(bytes(32))
    return learner
