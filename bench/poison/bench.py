"""A life a seed: Dripstone and its peers get the same batches in the same order."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from bench.clinc import packaged_encoder
from bench.poison.attacks import KINDS, Kind
from bench.poison.batches import Sending
from bench.poison.closed_form import ClosedForm
from bench.poison.features import Features
from bench.poison.harm import Exam
from bench.poison.life import make_life
from bench.poison.peers import Clearn, Replay
from bench.poison.play import Pupil, Result, play, poison_of, send
from bench.poison.stream import Corpus, Scale, read_clinc
from bench.poison.subject import Dripstone, copy_without_gate, new_project
from bench.poison.tables import Run
from bench.poison.tracking import trace
from dripstone.models.text import text_classifier

PEERS = ("replay", "clearn", "accuracy >=", "no gate")


class Bench:
    """What the lives share: the corpus, its test rows, and features by text.

    Parameters
    ----------
    corpus : Corpus
        The stream's texts.
    encoder : str
        Folder of the frozen encoder.
    kinds : sequence of Kind
        Attacks of each life.
    peers : sequence of str
        Some of ``PEERS``.
    curate : str, optional
        Dripstone's curation policy in place of the default.
    """

    def __init__(
        self,
        corpus: Corpus,
        encoder: str,
        kinds: Sequence[Kind] = KINDS,
        peers: Sequence[str] = PEERS,
        scale: Scale | None = None,
        random_features: int = 4096,
        curate: str | None = None,
    ) -> None:
        self.corpus, self.encoder, self.kinds, self.peers = corpus, encoder, kinds, peers
        self.curate = curate
        self.scale, self.random_features = scale or Scale(), random_features
        domains = corpus.domain_of()
        self.exam = Exam([label for _, label in corpus.test], [domains[label] for _, label in corpus.test])
        self.features = Features(text_classifier(encoder=encoder))
        self.test = self.features.of([text for text, _ in corpus.test])
        self.features.of([text for texts in (corpus.train, corpus.extra) for found in texts.values() for text in found])

    def live(self, seed: int) -> Run:
        """One life, lived by Dripstone and by each peer."""
        began = time.process_time()
        life = make_life(self.corpus, self.scale, self.kinds, seed)
        with tempfile.TemporaryDirectory() as folder:
            learner = new_project(Path(folder) / "project", self.encoder, self.random_features, seed, self.curate)
            subject = Dripstone(learner, self.test)
            results, ungated = self._play(subject, life, Path(folder) / "copies")
            traces = trace(learner, poison_of(life, results), len(life))
        peers = self._play_peers(life, seed) if self.peers else {}
        if "no gate" in peers:
            peers["no gate"] = [ungated.get(place, result) for place, result in enumerate(peers["no gate"])]
        return Run(seed, results, traces, peers, time.process_time() - began)

    def _play(
        self, subject: Dripstone, life: Sequence[Sending], copies: Path
    ) -> tuple[list[Result], dict[int, Result]]:
        """Dripstone's results; and by place what settings of its own do to a copy that asks nothing."""
        results, ungated = [], {}
        for place, sending in enumerate(life):
            if "no gate" in self.peers and any(batch.settings for batch in sending.batches):
                ungated[place] = send(copy_without_gate(subject, copies / str(place)), sending, self.exam)
            results.append(send(subject, sending, self.exam))
        return results, ungated

    def _play_peers(self, life: Sequence[Sending], seed: int) -> dict[str, list[Result]]:
        features = self.features.branch()
        features.of([row["input"] for sending in life for batch in sending.batches for row in batch.rows])
        return {name: play(self._peer(name, life, features, seed), life, self.exam) for name in self.peers}

    def _peer(self, name: str, life: Sequence[Sending], features: Features, seed: int) -> Pupil:
        if name == "replay":
            return Replay(features, self.test, seed)
        if name == "clearn":
            labels = {row["label"] for sending in life for batch in sending.batches for row in batch.rows}
            return Clearn(features, self.test, seed, sorted(labels))
        return ClosedForm(features, self.test, seed, self.random_features, asks=name == "accuracy >=")


@dataclass(frozen=True, slots=True)
class Job:
    """One seed on CLINC150, with attacks and peers by name."""

    data: Path
    kinds: tuple[str, ...]
    peers: tuple[str, ...]
    seed: int
    curate: str | None = None


def live_all(jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    """The lives in the order of the jobs; each process has one thread."""
    if processes == 1:
        yield from map(_live, jobs)
        return
    # Started afresh, not forked, since the bench's header has loaded torch and its threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_live, jobs)


def _live(job: Job) -> Run:
    torch.set_num_threads(1)
    return _bench(job.data, job.kinds, job.peers, job.curate).live(job.seed)


@lru_cache(maxsize=1)
def _bench(data: Path, kinds: tuple[str, ...], peers: tuple[str, ...], curate: str | None) -> Bench:
    """A process makes it once: the test rows' features are the most of it."""
    chosen = [kind for kind in KINDS if kind.name in kinds]
    return Bench(read_clinc(data), packaged_encoder(), chosen, peers, curate=curate)
