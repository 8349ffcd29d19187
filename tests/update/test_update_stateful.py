"""Whatever is done to a learner in whatever order, its book stays in order and its versions stay what they were."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dripstone.core.errors import UsageError
from dripstone.core.examples import holdout_hash
from dripstone.learner import Learner
from dripstone.update.moves import admit, drop
from learner_samples import blobs, book_of, live_rows, make, quarantined, relabelled, scores
from unlearning_samples import traces_of

SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 30)


class LearnerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.learner = make(self.folder, {"store.pending": 90, "gate.trusted": 60, "curate.policy": "screen+replay:40"})
        self.history = [self.learner.log()[0].version]
        self.sent = []
        self.answers = {}
        self.candidates = set()
        self.collected = set()

    def teardown(self):
        shutil.rmtree(self.folder)

    @property
    def live(self):
        return self.history[-1]

    def send(self, rows, **chosen):
        number = self.learner.log()[0].number
        update = self.learner.update(rows, settings=chosen)
        assert update.parent == self.live
        assert update.number == (None if update.verdict == "unchanged" and update.number is None else number + 1)
        if update.number is not None:
            self.history.append(update.version if update.promoted else self.live)
        if update.version:
            self.candidates.add(update.version)
            self.collected.discard(update.version)
        counts, book = update.examples, book_of(self.learner)
        assert counts.received == len(rows)
        assert counts.pending == len(book.pending) <= 90
        assert counts.quarantined == len(quarantined(self.learner))
        self.sent = rows
        return update

    @rule(size=SIZES, seed=SEEDS, labels=st.sampled_from(["ab", "abc", "bd"]))
    def honest(self, size, seed, labels):
        self.send(blobs(size, seed, labels))

    @rule(size=SIZES, seed=SEEDS)
    def by_proof_only(self, size, seed):
        self.send(blobs(size, seed), **{"gate.mode": "better"})

    @rule(size=SIZES, seed=SEEDS)
    def poison(self, size, seed):
        self.send(relabelled(blobs(size, seed)))

    @rule(size=SIZES, seed=SEEDS)
    def unchecked_poison(self, size, seed):
        self.send(relabelled(blobs(size, seed)), **{"gate.mode": "off"})

    @rule()
    @precondition(lambda self: self.sent)
    def sent_again(self):
        before = len(live_rows(self.learner, "train"))
        update = self.send(self.sent)
        if update.verdict == "unchanged":
            assert len(live_rows(self.learner, "train")) == before

    @rule(count=st.integers(1, 3))
    def rejected(self, count):
        update = self.send([{"inputs": [0, 0], "label": None}] * count)
        assert update.examples.rejected == count

    @rule()
    @precondition(lambda self: len(set(self.history)) > 1)
    def revert(self):
        before = next(version for version in reversed(self.history) if version != self.live)
        if before in self.collected:
            with pytest.raises(UsageError, match="was collected then"):
                self.learner.revert()
            return
        assert self.learner.revert().version == before
        self.history.append(before)

    @rule(data=st.data())
    @precondition(lambda self: self.candidates - {self.live} - self.collected)
    def promote(self, data):
        version = data.draw(st.sampled_from(sorted(self.candidates - {self.live} - self.collected)))
        self.learner.promote(version, "by hand")
        self.history.append(version)
        learned = {(row.id, row.target) for role in ("train", "held_out") for row in live_rows(self.learner, role)}
        assert not learned & {(item.row.id, item.row.target) for item in book_of(self.learner).pending}

    @rule(share=st.integers(1, 3))
    @precondition(lambda self: quarantined(self.learner))
    def admit(self, share):
        places = quarantined(self.learner)[::share]
        admit(self.learner.repository, places)
        assert not set(places) & set(quarantined(self.learner))
        self.history.append(self.live)

    @rule(share=st.integers(1, 3))
    @precondition(lambda self: quarantined(self.learner) or book_of(self.learner).pending)
    def drop(self, share):
        waiting = quarantined(self.learner) + [(item.page, item.index) for item in book_of(self.learner).pending]
        drop(self.learner.repository, waiting[::share])
        self.history.append(self.live)

    @rule(data=st.data())
    @precondition(lambda self: len(self.history) > 1)
    def unlearn(self, data):
        rows = everything(self.learner)
        if not rows:
            return
        ids = data.draw(st.lists(st.sampled_from(sorted(rows)), min_size=1, max_size=4, unique=True))
        live = self.live
        learned = {row.id for row in live_rows(self.learner, "train")}
        report = self.learner.unlearn(ids)
        assert report.exact
        assert report.solved == (live in report.collected) == (report.version != live)
        assert learned.isdisjoint(ids) or report.solved
        assert not set(ids) & set(everything(self.learner))
        wanted = [rows[row_id].inputs.data for row_id in ids if any(rows[row_id].inputs.data)]
        assert traces_of(self.learner.repository.path, *map(str.encode, ids), *wanted) == set()
        self.collected |= set(report.collected)
        self.history.append(report.version)

    @rule()
    def reopen(self):
        self.learner = Learner.open(self.learner.project)

    @rule()
    def forget_states(self):
        for file in (self.learner.repository.path / "training/state").iterdir():
            file.unlink()

    @invariant()
    def the_store_is_sound(self):
        assert list(self.learner.repository.verify()) == []

    @invariant()
    def live_is_what_it_should_be(self):
        head = self.learner.log()[0]
        assert (head.version, head.number) == (self.live, len(self.history))

    @invariant()
    def no_row_waits_in_two_places(self):
        aside = quarantined(self.learner)
        pending = [(item.page, item.index) for item in book_of(self.learner).pending]
        assert len(set(aside + pending)) == len(aside) + len(pending)
        ids = [item.row.id for item in book_of(self.learner).pending]
        assert len(set(ids)) == len(ids) or any(item.admitted for item in book_of(self.learner).pending)

    @invariant()
    def what_judges_was_never_trained_on(self):
        key = self.learner.repository.holdout_key
        sides = [
            {holdout_hash(key, row.example().inputs) for row in live_rows(self.learner, role)}
            for role in ("train", "held_out")
        ]
        assert not sides[0] & sides[1]

    @invariant()
    def versions_never_change_their_minds(self):
        found = scores(self.learner, self.live)
        assert torch.equal(self.answers.setdefault(self.live, found), found)


def everything(learner):
    """Every row of the ledger by its id."""
    pages = [learner.repository.read_page(name).rows for name in learner.repository.pages()]
    return {row.id: row for rows in pages for row in rows if row.role != "unlearned"}


LearnerMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLearner = LearnerMachine.TestCase
