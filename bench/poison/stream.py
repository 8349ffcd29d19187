"""The stream: a corpus, parted into rows for honest updates and rows for attacks."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.poison import texts as wording
from bench.poison.batches import Batch, Row, Sending, make_row


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts by label, the labels of each domain, and pairs of text and label that are only measured on.

    ``extra`` holds texts that attacks have to themselves.
    """

    domains: dict[str, list[str]]
    train: dict[str, list[str]]
    extra: dict[str, list[str]]
    test: list[tuple[str, str]]

    def domain_of(self) -> dict[str, str]:
        return {label: domain for domain, labels in self.domains.items() for label in labels}


@dataclass(frozen=True, slots=True)
class Scale:
    """How large things are.

    ``stage`` and ``refresh`` are shares of a label's training rows; the rest is for attacks. ``first`` labels of a
    domain arrive together, the others later in stages of as many. No attack comes before ``opening`` stages.
    ``batch`` is the size of an attack, ``aimed`` the least number of poisoned rows of a class that it aims at: more
    than the rows that were learned of it. ``dribble`` is the number of updates that bring one row each, ``repair`` the
    size of the honest batches that meet a bad setting or a bad disk.
    """

    stage: float = 0.6
    refresh: float = 0.2
    first: int = 10
    opening: int = 3
    refreshes: tuple[int, ...] = (100, 150, 200, 250, 300, 400, 500, 600)
    batch: int = 1200
    aimed: int = 150
    dribble: int = 30
    repair: int = 200


def read_clinc(data: Path) -> Corpus:
    """CLINC150: the validation rows are for attacks alone, the test rows are untouched."""
    splits = json.loads((data / "data_full.json").read_text())
    domains = json.loads((data / "domains.json").read_text())
    return Corpus(domains, _by_label(splits["train"]), _by_label(splits["val"]), [tuple(row) for row in splits["test"]])


def _by_label(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Texts by label; a text that two labels share stays with the first."""
    owners: dict[str, str] = {}
    for text, label in pairs:
        owners.setdefault(text, label)
    texts: dict[str, list[str]] = {}
    for text, label in owners.items():
        texts.setdefault(label, []).append(text)
    return texts


@dataclass(slots=True)
class Pools:
    """What attacks draw from, and what the stream has brought so far.

    ``known`` are the labels of honest stages so far, ``learned`` their rows by label, oldest label first. ``attack``
    holds texts by label; the least used stand in front. ``used`` are texts that no attack may use.
    """

    corpus: Corpus
    scale: Scale
    attack: dict[str, deque[str]]
    refresh: dict[str, list[str]]
    stage: dict[str, list[str]]
    used: set[str]
    learned: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        return list(self.learned)

    def take(self, labels: Iterable[str], count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
        """``count`` different texts with their labels, evenly over the labels, the least used first.

        A text that was used comes again with small edits, which make it another one.
        """
        order = [str(label) for label in rng.permutation(sorted(labels))]
        turns = [label for _, label in zip(range(count), itertools.cycle(order), strict=False)]
        pairs = [(self._next(label, rng), label) for label in turns]
        return [pairs[place] for place in rng.permutation(len(pairs))]

    def _next(self, label: str, rng: np.random.Generator) -> str:
        text = wording.edited(self.attack[label][0], self.used, rng)
        self.attack[label].rotate(-1)
        self.used.add(text)
        return text


def make_pools(corpus: Corpus, scale: Scale, rng: np.random.Generator) -> Pools:
    stage, refresh, attack = {}, {}, {}
    for label, texts in corpus.train.items():
        mixed = [texts[place] for place in rng.permutation(len(texts))]
        one, two = round(scale.stage * len(mixed)), round((scale.stage + scale.refresh) * len(mixed))
        stage[label], refresh[label] = mixed[:one], mixed[one:two]
        attack[label] = deque(rng.permutation(mixed[two:] + corpus.extra.get(label, [])).tolist())
    honest = [text for texts in [*stage.values(), *refresh.values()] for text in texts]
    return Pools(corpus, scale, attack, refresh, stage, {*honest, *(text for text, _ in corpus.test)})


def stage_labels(corpus: Corpus, scale: Scale, rng: np.random.Generator) -> list[list[str]]:
    """Labels of each honest stage: first one stage a domain, then what is left of the domains."""
    first, late = [], []
    for domain in rng.permutation(sorted(corpus.domains)):
        labels = [str(label) for label in rng.permutation(corpus.domains[str(domain)])]
        first.append(labels[: scale.first])
        late += labels[scale.first :]
    return first + [late[start : start + scale.first] for start in range(0, len(late), scale.first)]


def send_stage(pools: Pools, number: int, labels: list[str], rng: np.random.Generator) -> Sending:
    """An honest update that adds labels."""
    rows = [
        make_row(f"stage-{number}-{label}-{place}", text, label)
        for label in labels
        for place, text in enumerate(pools.stage[label])
    ]
    for row in rows:
        pools.learned.setdefault(row["label"], []).append(row)
    return Sending("stage", [Batch([rows[place] for place in rng.permutation(len(rows))])], "adds")


def send_refresh(pools: Pools, number: int, size: int, rng: np.random.Generator) -> Sending:
    """An honest update with new rows of labels that came before; fewer than ``size`` where no more are left."""
    left = [(text, label) for label in pools.known for text in pools.refresh[label]]
    chosen = [left[place] for place in rng.permutation(len(left))[:size]]
    for text, label in chosen:
        pools.refresh[label].remove(text)
    rows = [make_row(f"refresh-{number}-{place}", text, label) for place, (text, label) in enumerate(chosen)]
    return Sending("refresh", [Batch(rows)] if rows else [], "refreshes")
