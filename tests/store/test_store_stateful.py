"""Writers that race, die and come back, against a model of what has to be true."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_samples import book, certify, entry, floats, nudged, page, promotion, update, write

from dripstone.core.errors import RaceLostError
from dripstone.store.repository import Repository

STEPS = ("version", "page", "candidate page", "book", "record", "certificate", "log")


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def create(self):
        self.folder = Path(tempfile.mkdtemp())
        self.repository = Repository.create(self.folder / "store")
        self.tensors = {}
        self.log = []
        self.nonces = 0

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @property
    def live(self):
        return self.log[-1].version if self.log else None

    def run_update(self, seed, number, parent, stop=None):
        """An update that dies before step ``stop``."""
        self.nonces += 1
        nonce = f"n{self.nonces}"
        old = self.tensors[parent]["head"] if parent else floats(0, 6, 8)
        tensors = {"head": nudged(old, seed)} | ({} if parent else {"body": floats(1, 4)})
        for step in STEPS:
            if step == stop:
                return None
            if step == "version":
                version = write(self.repository, tensors, parent, data=str(seed)).version
                self.tensors[version] = {**self.tensors.get(parent, {}), **tensors}
            elif step == "page":
                name = self.repository.write_page(page(number, version))
            elif step == "candidate page":
                self.repository.write_candidate_page(version, name)
            elif step == "book":
                kept = self.repository.write_book(book(name, self.tested if parent is None else self.tested + 1))
            elif step == "record":
                self.repository.write_record(version, number, nonce, update(version, number=number))
            elif step == "certificate":
                certificate = certify(self.repository, number, version, parent, self.tested)
            else:
                new = promotion(number, version, certificate, nonce, page=name, book=kept)
                self.repository.log.append(new)
        return new

    @property
    def tested(self):
        """Every update but the first has spent alpha."""
        return max(sum(e.candidate is not None for e in self.log) - 1, 0)

    @rule(seed=st.integers(1, 5))
    def promote(self, seed):
        self.log.append(self.run_update(seed, len(self.log) + 1, self.live))

    @rule(seed=st.integers(1, 5), stop=st.sampled_from(STEPS))
    def die_between_steps(self, seed, stop):
        self.run_update(seed, len(self.log) + 1, self.live, stop)

    @precondition(lambda self: self.log)
    @rule(seed=st.integers(1, 5), back=st.integers(0, 2))
    def lose_a_race(self, seed, back):
        number = max(1, len(self.log) - back)
        with pytest.raises(RaceLostError, match="run the same command again"):
            self.run_update(seed, number, self.live)

    @precondition(lambda self: self.log)
    @rule()
    def lose_a_reply(self):
        self.repository.log.append(self.log[-1])

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def revert(self, data):
        version = data.draw(st.sampled_from(sorted({e.version for e in self.log})))
        self.nonces += 1
        certificate = next(e.certificate for e in self.log[::-1] if e.version == version)
        copied = {"event": "revert", "book": self.log[-1].book, "certificate": certificate}
        reverted = entry(len(self.log) + 1, version, f"n{self.nonces}", **copied)
        self.repository.log.append(reverted)
        self.log.append(reverted)

    @rule()
    def reopen(self):
        self.repository = Repository.open(self.repository.path)

    @rule()
    def sweep(self):
        self.repository.sweep()

    @invariant()
    def head_is_the_models(self):
        if getattr(self, "log", None):
            assert self.repository.log.head() == self.log[-1]
            assert self.repository.read_tensors(self.live) == self.tensors[self.live]

    def check_everything(self):
        assert list(self.repository.log.entries()) == self.log[::-1]
        assert set(self.repository.versions()) == set(self.tensors)
        for version, tensors in self.tensors.items():
            assert self.repository.read_tensors(version) == tensors

    @invariant()
    def store_is_sound(self):
        if hasattr(self, "repository"):
            assert list(self.repository.verify()) == []
            self.check_everything()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=12, stateful_step_count=10, deadline=None)
