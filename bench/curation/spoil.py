"""Streams that are spoilt in known ways: wrong labels, duplicates, rare classes. Test rows stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bench.refresh.data import Rows

COPIES = 3
"""Copies of a row that is sent again."""

COPIED = 0.1
"""Share of the rows that are: three copies of a tenth are 30 % duplicates."""

RAREST = 50
"""Rows of the commonest class for one of the rarest."""


def wrong_labels(rows: Rows, share: float, draw: np.random.Generator) -> Rows:
    """A share of the rows gets another label of the stage, each as likely."""
    labels = np.unique(rows.targets)
    targets = rows.targets.copy()
    for place in np.flatnonzero(draw.random(len(rows)) < share):
        others = labels[labels != targets[place]]
        targets[place] = draw.choice(others)
    return Rows(list(rows.texts), targets)


def duplicates(rows: Rows, draw: np.random.Generator) -> Rows:
    """A tenth of the rows comes three times more: in capitals, without its punctuation, and with a letter dropped."""
    texts, targets = list(rows.texts), rows.targets.tolist()
    for place in np.flatnonzero(draw.random(len(rows)) < COPIED):
        text = rows.texts[place]
        cut = int(draw.integers(0, len(text)))
        for copy in (text.upper(), text.rstrip("?.!") + " ...", text[:cut] + text[cut + 1 :])[:COPIES]:
            texts.append(copy)
            targets.append(int(rows.targets[place]))
    order = draw.permutation(len(texts))
    return Rows([texts[place] for place in order], np.array(targets, dtype=np.int64)[order])


def imbalance(rows: Rows, draw: np.random.Generator) -> Rows:
    """Classes of a stage keep fewer and fewer rows, from all of them down to one in fifty."""
    labels = draw.permutation(np.unique(rows.targets))
    kept = np.zeros(len(rows), dtype=bool)
    for rank, label in enumerate(labels):
        places = np.flatnonzero(rows.targets == label)
        share = RAREST ** (-rank / max(len(labels) - 1, 1))
        kept[draw.permutation(places)[: max(1, round(share * len(places)))]] = True
    return rows.where(kept)


SPOILT: dict[str, Callable[[Rows, np.random.Generator], Rows]] = {
    "as it is": lambda rows, draw: rows,
    "10 % wrong": lambda rows, draw: wrong_labels(rows, 0.1, draw),
    "20 % wrong": lambda rows, draw: wrong_labels(rows, 0.2, draw),
    "40 % wrong": lambda rows, draw: wrong_labels(rows, 0.4, draw),
    "30 % duplicates": duplicates,
    "1:50 imbalance": imbalance,
}


def spoil(stages: Sequence[Rows], how: str, seed: int) -> list[Rows]:
    """The stages, spoilt; the same seed spoils the same rows, whoever learns from them."""
    return [SPOILT[how](stage, np.random.default_rng((seed, number))) for number, stage in enumerate(stages)]
