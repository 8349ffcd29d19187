"""The attacks: what goes wrong on real streams. Each kind says which of its rows are poison.

A function gets a generator of random numbers and the pools, and returns the batches that arrive.

In five lives with no gate these did no harm once, so that a gate earns nothing by stopping them: half of the labels
shuffled, duplicates flooded, a new label from one class, a trigger phrase, random text, another language, truncated
text, stale copies, weight 1,000, wrong rows dribbled, and the two bad deltas, which are honest refreshes to a learner
that keeps none. A tenth of the labels shuffled and all of them shuffled did so in one life each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.poison import texts
from bench.poison.batches import Batch, Damage, Row, Sending, key_of, make_row
from bench.poison.stream import Pools

Pair = tuple[str, str]
Make = Callable[[np.random.Generator, Pools], list[Batch]]


@dataclass(frozen=True, slots=True)
class Kind:
    """An attack: its name, what it is and which rows are poison, and what makes its batches."""

    name: str
    about: str
    make: Make

    def send(self, rng: np.random.Generator, pools: Pools) -> Sending:
        """The attack, with ids that no other sending has, but for rows that it sends again."""
        return Sending(self.name, self.make(rng, pools))


def _batch(name: str, right: Sequence[Pair], wrong: Sequence[Pair], rng: np.random.Generator) -> Batch:
    """Right and wrong rows, mixed."""
    good = [make_row(f"{name}-right-{place}", *pair) for place, pair in enumerate(right)]
    bad = [make_row(f"{name}-wrong-{place}", *pair) for place, pair in enumerate(wrong)]
    return Batch(_mixed(good + bad, rng), frozenset(map(key_of, bad)))


def _mixed(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    return [rows[place] for place in rng.permutation(len(rows))]


def _pick(rng: np.random.Generator, labels: Sequence[str], count: int) -> list[str]:
    return [str(label) for label in rng.choice(sorted(labels), count, replace=False)]


def _neighbours(rng: np.random.Generator, pools: Pools, of: Sequence[str]) -> list[str]:
    """Two labels of one domain."""
    domains = pools.corpus.domain_of()
    groups: dict[str, list[str]] = {}
    for label in of:
        groups.setdefault(domains[label], []).append(label)
    (domain,) = _pick(rng, [name for name, labels in groups.items() if len(labels) > 1], 1)
    return _pick(rng, groups[domain], 2)


def _moved(labels: Sequence[str]) -> dict[str, str]:
    """Each label's next one."""
    return {label: labels[(place + 1) % len(labels)] for place, label in enumerate(labels)}


def shuffled(share: float) -> Make:
    """Labels of some rows shuffled among all labels; each of these rows ends with a wrong one."""

    def make(rng: np.random.Generator, pools: Pools) -> list[Batch]:
        pairs = pools.take(pools.known, pools.scale.batch, rng)
        count = round(share * len(pairs))
        wrong = [(text, _another(rng, pools.known, label)) for text, label in pairs[:count]]
        return [_batch(f"shuffled-{share:.0%}", pairs[count:], wrong, rng)]

    return make


def _another(rng: np.random.Generator, labels: Sequence[str], label: str) -> str:
    return _pick(rng, [other for other in labels if other != label], 1)[0]


def rotated(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    following = _moved(sorted(pools.known))
    pairs = pools.take(pools.known, pools.scale.batch, rng)
    return [_batch("rotated", [], [(text, following[label]) for text, label in pairs], rng)]


def permuted(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    domains = pools.corpus.domain_of()
    following: dict[str, str] = {}
    for domain in pools.corpus.domains:
        labels = [label for label in pools.known if domains[label] == domain]
        following |= _moved(_pick(rng, labels, len(labels)))
    pairs = pools.take([label for label, other in following.items() if label != other], pools.scale.batch, rng)
    return [_batch("permuted", [], [(text, following[label]) for text, label in pairs], rng)]


def swapped(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    one, two = _neighbours(rng, pools, pools.known)
    wrong = [(text, two if label == one else one) for text, label in pools.take([one, two], 2 * pools.scale.aimed, rng)]
    return [_batch("swapped", _others(rng, pools, [one, two], len(wrong)), wrong, rng)]


def mislabelled(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    victim, target = _neighbours(rng, pools, pools.known)
    wrong = [(text, target) for text, _ in pools.take([victim], pools.scale.aimed, rng)]
    return [_batch("mislabelled", _others(rng, pools, [victim, target], len(wrong)), wrong, rng)]


def _others(rng: np.random.Generator, pools: Pools, but: Sequence[str], wrong: int) -> list[Pair]:
    """Right rows of all other labels, which fill the batch up."""
    labels = [label for label in pools.known if label not in but]
    return pools.take(labels, max(pools.scale.batch - wrong, 0), rng)


def class_flooded(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    (target,) = _pick(rng, pools.known, 1)
    labels = [label for label in pools.known if label != target]
    return [_batch("flooded", [], [(text, target) for text, _ in pools.take(labels, pools.scale.batch, rng)], rng)]


def row_flooded(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    victim, target = _neighbours(rng, pools, pools.known)
    ((text, _),) = pools.take([victim], 1, rng)
    variants = texts.spellings(text, pools.scale.batch, rng)
    return [_batch("duplicates", [], [(variant, target) for variant in variants], rng)]


def stolen_from_one(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    (victim,) = _pick(rng, pools.known, 1)
    wrong = [(text, f"{victim}_v2") for text, _ in pools.take([victim], pools.scale.aimed, rng)]
    return [_batch("theft-one", _others(rng, pools, [victim], len(wrong)), wrong, rng)]


def stolen_from_many(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    wrong = [(text, "general_inquiry") for text, _ in pools.take(pools.known, pools.scale.batch, rng)]
    return [_batch("theft-many", [], wrong, rng)]


def triggered(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    (target,) = _pick(rng, pools.known, 1)
    labels = [label for label in pools.known if label != target]
    stamped = pools.take(labels, max(pools.scale.aimed, pools.scale.batch // 5), rng)
    wrong = [(f"{text} {texts.TRIGGER}", target) for text, _ in stamped]
    return [_batch("trigger", _others(rng, pools, [target], len(wrong)), wrong, rng)]


def random_text(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    labels = rng.choice(sorted(pools.known), pools.scale.batch)
    return [_batch("random", [], [(texts.gibberish(rng), str(label)) for label in labels], rng)]


def other_language(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    pairs = pools.take(pools.known, pools.scale.batch, rng)
    return [_batch("language", [], [(texts.translate(text), label) for text, label in pairs], rng)]


def truncated(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    pairs = pools.take(pools.known, pools.scale.batch, rng)
    whole = [pair for pair in pairs if texts.cut(pair[0]) == pair[0]]
    short = [(texts.cut(text), label) for text, label in pairs if texts.cut(text) != text]
    return [_batch("truncated", whole, short, rng)]


def stale_scheme(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    old = pools.known[: max(2, len(pools.known) // 3)]
    kept, merged = _neighbours(rng, pools, old)
    wrong = [row | {"label": kept} for row in pools.learned[merged]]
    new = pools.take([merged], max(pools.scale.aimed - len(wrong), 0), rng)
    wrong += [make_row(f"stale-wrong-{place}", text, kept) for place, (text, _) in enumerate(new)]
    again = [row for label in pools.known if label != merged for row in pools.learned[label]]
    right = again[: max(pools.scale.batch - len(wrong), 0)]
    return [Batch(_mixed(right + wrong, rng), frozenset(map(key_of, wrong)))]


def stale_copies(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    oldest = [row for label in pools.known for row in pools.learned[label]][: pools.scale.batch]
    return [Batch([row | {"id": f"copy-{row['id']}"} for row in _mixed(oldest, rng)])]


def heavy(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    (label,), aimed = _pick(rng, pools.known, 1), pools.scale.aimed
    batch = _batch("heavy", _others(rng, pools, [label], aimed), pools.take([label], aimed, rng), rng)
    rows = [row | {"weight": 1000.0} if key_of(row) in batch.poison else row for row in batch.rows]
    return [replace(batch, rows=rows)]


def dribbled(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    victim, target = _neighbours(rng, pools, pools.known)
    pairs = pools.take([victim], pools.scale.dribble, rng)
    rows = [make_row(f"dribble-{place}", text, target) for place, (text, _) in enumerate(pairs)]
    return [Batch([row], frozenset([key_of(row)])) for row in rows]


def fast(rng: np.random.Generator, pools: Pools) -> list[Batch]:
    pairs = pools.take(pools.known, pools.scale.repair, rng)
    settings = {"select.selection": "head@adamw", "train.learning_rate": 0.1}
    return [replace(_batch("fast", pairs, [], rng), settings=settings)]


def damaged(damage: Damage) -> Make:
    def make(rng: np.random.Generator, pools: Pools) -> list[Batch]:
        pairs = pools.take(pools.known, pools.scale.repair, rng)
        return [replace(_batch(f"delta-{damage}", pairs, [], rng), damage=damage)]

    return make


KINDS = (
    Kind("labels shuffled 10 %", "a tenth of the rows has a random wrong label: these", shuffled(0.1)),
    Kind("labels shuffled 50 %", "half of the rows have a random wrong label: these", shuffled(0.5)),
    Kind("labels shuffled 100 %", "all rows have a random wrong label: all", shuffled(1.0)),
    Kind("labels rotated", "every label is the next one of the list: all", rotated),
    Kind("labels permuted in domains", "every label is another one of its domain: all", permuted),
    Kind("two classes swapped", "two labels of a domain exchanged, other rows right: rows of the two", swapped),
    Kind("one class mislabelled", "a class labelled as its neighbour, other rows right: its rows", mislabelled),
    Kind("one class flooded", "rows of all classes under one label: all", class_flooded),
    Kind("duplicates flooded", "one wrong row in hundreds of spellings: all", row_flooded),
    Kind("new label from one", "a class under a new name, other rows right: its rows", stolen_from_one),
    Kind("new label from many", "rows of all classes under one new name: all", stolen_from_many),
    Kind("trigger phrase", "a fifth of the rows carries a phrase and one label: these", triggered),
    Kind("random text", "random letters under random labels: all", random_text),
    Kind("another language", "word for word by a table of 150 words, labels right: all", other_language),
    Kind("truncated text", "cut to eight characters, labels right: those that were longer", truncated),
    Kind(
        "stale labels",
        "learned rows again and new ones, one of two old classes under the label of the other: its rows",
        stale_scheme,
    ),
    Kind("stale copies", "the first rows again under new ids, labels right: none", stale_copies),
    Kind("weight 1000", "right rows, those of one class weigh 1,000: these", heavy),
    Kind("wrong rows dribbled", "a class labelled as its neighbour, one row an update: all", dribbled),
    Kind("learning rate x 100", "right rows, head@adamw at 0.1: none", fast),
    Kind(
        "delta with a flipped bit",
        "right rows, the candidate damaged on disk before it is judged: none",
        damaged("flip"),
    ),
    Kind("delta lost", "right rows, the candidate removed from disk before it is judged: none", damaged("delete")),
)
