"""A store as the gate sees it: trusted rows, an anchor, a count of tests; every verdict is the real gate's.

Fresh rows come from the true distribution. Trusted ones stay, with what anchor and live version made of them, so that
what is reused is biased as it is in life. Rows of candidates that are not promoted are not used again; in a real store
those of undecided ones wait and count once more, which only helps.

Where the fresh rows of a candidate are more than the cap of trusted rows, those on which all versions agree are counted
and not kept: they say nothing of a gain. The newest of them are kept for the day on which they are trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.gate.truth import ANCHOR, CANDIDATE, LIVE, SLICE, START, answer, cells, disputed, draw_disputed, draw_rows
from bench.gate.truth import right as has_right
from dripstone.core.config import GateConfig
from dripstone.gate.anchor import is_new_best
from dripstone.gate.answers import Answers, Marks, Rival
from dripstone.gate.judge import Judgement, judge
from dripstone.gate.slices import Partition


@dataclass(frozen=True, slots=True)
class Fresh:
    """Fresh rows: those that are ``judged``, those that may become trusted, and how many agreeing ones are left out."""

    judged: np.ndarray
    newest: np.ndarray
    left_out: int


@dataclass(slots=True)
class SimulatedStore:
    """What lasts from one candidate to the next.

    config : of the gate. draw : the source of chance. joint : [anchor right, live right], true probabilities.
    anchored : the anchor is another version than the live one. slices : how many there are; 1 for none.
    """

    config: GateConfig
    draw: np.random.Generator
    slices: int = 1
    joint: np.ndarray = field(default_factory=lambda: np.diag([1 - START, START]))
    trusted: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    anchored: bool = False
    tested: int = 0

    @property
    def accuracy(self) -> float:
        """True accuracy of the live version."""
        return float(self.joint[:, 1].sum())

    def measured(self) -> float:
        """Accuracy of the live version on the trusted rows."""
        return float(has_right(self.trusted, LIVE).mean())

    def trust(self, rows: int) -> None:
        """Begin with so many trusted rows that no decision has used."""
        self.trusted = draw_rows(self._cells(np.eye(2)), rows, self.draw) & ~1

    def fresh(self, change: np.ndarray, rows: int) -> Fresh:
        """Draw a candidate's fresh rows."""
        cap, odds = self.config.trusted, self._cells(change)
        if rows <= cap:
            drawn = draw_rows(odds, rows, self.draw)
            return Fresh(drawn, drawn, 0)
        older, newest = draw_disputed(odds, rows - cap, self.draw), draw_rows(odds, cap, self.draw)
        judged = np.concatenate([older, disputed(newest)])
        return Fresh(judged, newest, rows - len(judged))

    def hear(self, change: np.ndarray, fresh: Fresh) -> Judgement:
        """Ask the gate about a candidate, and make it the live version if it is promoted."""
        trusted = answer(self.trusted, change, self.draw)
        answers = self._answers(np.concatenate([fresh.judged, trusted]))
        judgement = judge(answers, len(fresh.judged), tested=self.tested, config=self.config)
        self.tested += judgement.evidence.alpha_spent > 0
        if judgement.verdict == "promoted":
            best = judgement.new_best if fresh.left_out == 0 else leads(answers, fresh.left_out)
            self.promote(change, np.concatenate([trusted, fresh.newest]), best)
        return judgement

    def promote(self, change: np.ndarray, rows: np.ndarray, new_best: bool) -> None:
        """The candidate is live from now on; ``rows`` (oldest first) are the trusted ones, up to the cap."""
        self.joint = self.joint @ change
        if new_best:
            self.joint = np.diag(self.joint.sum(axis=0))
        self.anchored = not new_best
        rows = rows[-self.config.trusted :]
        found = rows & 1
        anchor = found if new_best else rows >> ANCHOR & 1
        self.trusted = (rows >> SLICE << SLICE) | anchor << ANCHOR | found << LIVE

    def _cells(self, change: np.ndarray) -> np.ndarray:
        return np.tile(cells(self.joint, change), self.slices) / self.slices

    def _answers(self, rows: np.ndarray) -> Answers:
        return to_answers(rows, anchored=self.anchored, slices=self.slices)


def to_answers(rows: np.ndarray, *, anchored: bool, slices: int) -> Answers:
    """Rows in the gate's form; every label is known to all, and a version is as sure as it is right."""
    known = np.ones(len(rows), dtype=bool)
    candidate, live, anchor = (_marks(rows, who) for who in (CANDIDATE, LIVE, ANCHOR))
    names = [f"slice {number}" for number in range(slices)]
    return Answers(
        candidate=candidate,
        confidence=candidate.probability,
        intruding=~known,
        champion=Rival(live, candidate, known),
        anchor=Rival(anchor, candidate, known) if anchored else None,
        partitions=[Partition(names, rows >> SLICE)] if slices > 1 else [],
    )


def _marks(rows: np.ndarray, who: int) -> Marks:
    found = has_right(rows, who)
    return Marks(found, found.astype(float))


def leads(answers: Answers, agreeing: int) -> bool:
    """The gate's rule of the anchor, with the agreeing rows that were left out."""
    gains = answers.candidate.scores("accuracy") - answers.best.marks.scores("accuracy")
    gains = np.concatenate([gains, np.zeros(agreeing)])
    return is_new_best(gains, float(gains.mean()))
