"""Who learns: names, and for each how to make it for a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.drift.data import Stream
from bench.drift.learn_dripstone import CURATED, DEFAULT, UNFORGETTING, Dripstone, Scaled
from bench.drift.learn_river import Forest
from bench.drift.learn_sklearn import FEW_WORDS, WORDS, Hashed, PartialFit, Regression, Standardised, network, sgd
from bench.drift.prequential import Pupil
from bench.drift.results import Task
from bench.drift.static import LastLabel, Static

DRIPSTONE = "Dripstone"
GATE_OFF, PLAIN = "Dripstone, gate off", "Dripstone, default curation"
REMEMBERS = "Dripstone, nothing forgotten"
SCALED = "Dripstone, gate off, scaled columns"
STAYS = "Dripstone, first version"
SGD, SGD_CONSTANT, MLP = "SGDClassifier", "SGDClassifier, constant rate", "MLPClassifier"
SGD_WORDS, MLP_WORDS = "SGDClassifier, hashed words", "MLPClassifier, hashed words"
FOREST = "adaptive random forest"
REGRESSION = "LogisticRegression, static"
LAST = "the last label"

OURS = (DRIPSTONE, GATE_OFF, REMEMBERS, PLAIN, SCALED)
OF_WORDS = (SGD_WORDS, MLP_WORDS)
NAMES = (*OURS, SGD, SGD_CONSTANT, MLP, *OF_WORDS, FOREST, REGRESSION, STAYS, LAST)
PEERS = tuple(name for name in NAMES if name not in (*OURS, LAST))
"""Those that the goal names; the last label is there for comparison."""

READ_TEXTS = (*OURS, STAYS, *OF_WORDS, LAST)
"""Learners that take mails as they are; others are given the encoder's features."""

CONSTANT_RATE = 0.01
"""The one that scikit-learn names for it. The default falls with the rows that were learned, as for a stream that does
not drift."""

_SETTINGS = {
    DRIPSTONE: (CURATED, "steady"),
    GATE_OFF: (CURATED, "off"),
    REMEMBERS: (UNFORGETTING, "steady"),
    PLAIN: (DEFAULT, "steady"),
    SCALED: (CURATED, "off"),
}

_ONLY_OF = {SGD_WORDS: "spam", MLP_WORDS: "spam", SCALED: "bike"}
"""Learners that make sense on one stream: columns of bicycles have units of their own."""


def make(name: str, stream: Stream, encoder: str, seed: int, folder: Path) -> Pupil:
    """A learner that has seen nothing; ``folder`` is an empty one."""
    classes = len(stream.labels)
    made: dict[str, Callable[[], Pupil]] = {
        STAYS: lambda: Static(lambda: _first(stream, encoder, seed, folder)),
        SGD: lambda: PartialFit(sgd(seed), Standardised(), classes),
        SGD_CONSTANT: lambda: PartialFit(
            sgd(seed, learning_rate="constant", eta0=CONSTANT_RATE), Standardised(), classes
        ),
        MLP: lambda: PartialFit(network(seed), Standardised(), classes),
        SGD_WORDS: lambda: PartialFit(sgd(seed), Hashed(WORDS), classes),
        MLP_WORDS: lambda: PartialFit(network(seed), Hashed(FEW_WORDS), classes),
        FOREST: lambda: Forest(seed),
        REGRESSION: lambda: Static(Regression),
        LAST: LastLabel,
    }
    if name in _SETTINGS:
        curate, gate = _SETTINGS[name]
        pupil = Dripstone(folder / "project", stream, encoder, curate, gate, seed)
        return Scaled(pupil) if name == SCALED else pupil
    return made[name]()


def _first(stream: Stream, encoder: str, seed: int, folder: Path) -> Dripstone:
    """Each in a folder of its own: a static model is made twice."""
    number = len(list(folder.iterdir()))
    return Dripstone(folder / f"project-{number}", stream, encoder, CURATED, "steady", seed)


def tasks(
    streams: Sequence[str], delays: Sequence[int], learners: Sequence[str], seed: int, quick: bool
) -> Iterator[Task]:
    """All of them, stream after stream, but for learners that make no sense there."""
    for stream in streams:
        for delay in delays:
            for learner in learners:
                if _ONLY_OF.get(learner, stream) == stream:
                    yield Task(stream, delay, learner, seed, quick)
