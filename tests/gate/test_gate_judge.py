"""The verdict, case by case, and the sentence that says why."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dripstone.core.config import GateConfig
from dripstone.core.records import Metrics
from dripstone.gate.evidence import level
from dripstone.gate.judge import Answers, accuracy, judge, nonsense
from dripstone.gate.sense import Sense

KNOWN = 2
ARRAYS = ("targets", "champion", "candidate", "restricted")


def answers(
    rows: int, wins: int = 0, losses: int = 0, *, right: int | None = None, slice_: str | None = None
) -> Answers:
    """Rows of class 1: first ``right`` that both have right, then wins and losses, then those that both have wrong.

    Wins and losses are spread evenly over each other, so that no order favours a verdict.
    """
    both = rows - wins - losses if right is None else right
    flips = sorted(
        [((i + 1) / (wins + 1), 1) for i in range(wins)] + [((i + 1) / (losses + 1), -1) for i in range(losses)]
    )
    signs = np.array([0] * both + [sign for _, sign in flips] + [0] * (rows - both - len(flips)))
    base = np.arange(rows) < both
    champion = np.where(base | (signs < 0), 1, 0)
    candidate = np.where(base | (signs > 0), 1, 0)
    return Answers(np.ones(rows, np.int64), champion, candidate, candidate, ["yes"] * rows, [slice_] * rows)


def decide(fresh: Answers, trusted: Answers, tested: int = 0, **settings):
    return judge(fresh, trusted, known=KNOWN, tested=tested, config=GateConfig(**settings))


NONE = answers(0)

CASES = [
    # mode, fresh, trusted, verdict, beginning of the reason
    (
        "steady",
        NONE,
        NONE,
        "undecided",
        "0 held-out rows of the 50 that a decision takes; about 250 more labelled rows",
    ),
    ("better", NONE, NONE, "undecided", "there are no held-out rows to judge by yet"),
    ("off", NONE, NONE, "promoted", "the gate is off"),
    ("steady", answers(20, wins=2), answers(20), "undecided", "40 held-out rows of the 50"),
    ("steady", answers(25, wins=2), answers(25), "promoted", "no loss measured: no harm shown on 25 trusted rows"),
    (
        "better",
        answers(25, wins=2),
        answers(25),
        "undecided",
        "estimated gain +4.00 points on 50 held-out rows, not pro",
    ),
    (
        "steady",
        answers(60),
        NONE,
        "promoted",
        "no loss measured: no trusted rows yet, estimated gain +0.00 points on 60",
    ),
    ("steady", answers(60, right=0), NONE, "promoted", "no loss measured"),
    (
        "better",
        answers(60),
        answers(60),
        "undecided",
        "estimated gain +0.00 points on 120 held-out rows, not proven; no",
    ),
    (
        "better",
        NONE,
        answers(60, wins=3),
        "undecided",
        "estimated gain +5.00 points on 60 held-out rows, not proven; non",
    ),
    ("steady", answers(100, losses=1), answers(900), "undecided", "estimated gain -0.10 points on 1,000 held-out rows"),
    ("steady", answers(40, wins=30), NONE, "promoted", "gain proven: 30 of 40 fresh rows changed, evidence "),
    ("better", answers(40, wins=30), answers(60), "promoted", "gain proven: 30 of 40 fresh rows changed, evidence "),
    (
        "steady",
        answers(40, wins=30),
        answers(100, losses=60),
        "refused",
        "of 100 trusted rows, 60 got worse and 0 better",
    ),
    ("better", answers(40, wins=30), answers(100, losses=60), "refused", "of 100 trusted rows, 60 got worse"),
    ("off", answers(60, losses=60), answers(100, losses=60), "promoted", "the gate is off: nothing was asked"),
]


@pytest.mark.parametrize(("mode", "fresh", "trusted", "verdict", "reason"), CASES)
def test_verdicts(mode, fresh, trusted, verdict, reason):
    found = decide(fresh, trusted, mode=mode)
    assert found.verdict == verdict
    assert found.reason.startswith(reason)
    assert not re.search(r"nan|inf|None|\s\s", found.reason)


def test_proof_is_accepted_below_the_minimum_of_rows():
    assert decide(answers(20, wins=20), NONE).reason.startswith("gain proven")


def test_the_proof_says_its_numbers():
    found = decide(answers(40, wins=30), answers(60))
    assert re.fullmatch(
        r"gain proven: 30 of 40 fresh rows changed, evidence (\d+|\d\.\de\+\d+) against a bar of 40; "
        r"no harm shown on 60 trusted rows",
        found.reason,
    )
    assert found.evidence.wealth >= found.evidence.threshold == pytest.approx(40)


def test_harm_says_slice_and_margin():
    trusted = answers(300)
    hurt = np.arange(300) % 3 == 0
    trusted = Answers(
        trusted.targets,
        trusted.champion,
        np.where(hurt, 0, 1),
        np.where(hurt, 0, 1),
        ["yes"] * 300,
        ["eu" if odd else "us" for odd in hurt],
    )
    found = decide(answers(50, wins=30), trusted)
    assert found.reason.startswith(
        "of 100 trusted rows of slice eu, 100 got worse and 0 better; a loss above 1 point is"
    )
    assert "a loss above 2.5 points is shown (" in decide(NONE, trusted, margin=0.025).reason
    assert found.reason.endswith("against a bar of 80)")


def intruded(rows: int, taken: int, restricted: int) -> Answers:
    """Trusted rows of class 1; the candidate gives ``taken`` of them to new class 2, else the ``restricted`` answer."""
    champion = np.ones(rows, np.int64)
    candidate = np.where(np.arange(rows) < taken, 2, 1)
    return Answers(champion, champion, candidate, np.full(rows, restricted), ["yes"] * rows, [None] * rows)


def test_answers_that_a_new_class_takes_are_intrusion_not_harm():
    found = decide(NONE, intruded(100, taken=40, restricted=1))
    assert found.verdict == "undecided"
    assert found.intrusion == pytest.approx(0.4)
    assert found.metrics.candidate.accuracy == pytest.approx(0.6)


def test_a_loss_among_the_old_classes_is_harm_with_or_without_intrusion():
    assert decide(NONE, intruded(100, taken=0, restricted=0)).verdict == "refused"


def test_trusted_rows_of_labels_that_one_side_does_not_know_are_no_harm():
    rows = 200
    old = answers(rows, losses=100)
    for label in (2, -1):
        trusted = Answers(
            np.full(rows, label), np.full(rows, 0), np.full(rows, 1), np.full(rows, 1), ["x"] * rows, [None] * rows
        )
        assert decide(NONE, trusted).verdict != "refused"
        mixed = Answers(
            *[np.concatenate([getattr(old, k), getattr(trusted, k)]) for k in ARRAYS], ["x"] * 400, [None] * 400
        )
        assert decide(NONE, mixed).reason.startswith("of 200 trusted rows")


def test_unknown_answers_to_unknown_labels_are_wrong():
    nothing = np.full(60, -1)
    rows = Answers(nothing, nothing, nothing, nothing, ["x"] * 60, [None] * 60)
    assert not rows.champion_right.any()
    assert not rows.candidate_right.any()
    assert not rows.restricted_right.any()
    found = decide(rows, rows)
    assert found.metrics.champion.accuracy == found.metrics.candidate.accuracy == 0.0


def test_a_champion_without_labels_is_beaten():
    targets = np.arange(60) % 2
    fresh = Answers(targets, np.full(60, -1), targets, np.full(60, -1), [str(t) for t in targets], [None] * 60)
    found = judge(fresh, NONE, known=0, tested=0, config=GateConfig())
    assert found.verdict == "promoted"
    assert found.reason.startswith("gain proven: 60 of 60")


def test_a_gate_that_is_off_spends_no_alpha():
    assert decide(answers(60, wins=60), NONE, mode="off").evidence.alpha_spent == 0
    assert decide(answers(60, wins=60), NONE).evidence.alpha_spent == level(0.05, 1)


def test_later_candidates_face_a_higher_bar():
    few = answers(60, wins=9, right=51)
    assert decide(few, NONE, mode="better").verdict == "promoted"
    assert decide(few, NONE, tested=100, mode="better").verdict == "undecided"


def test_rows_needed_are_those_that_the_reason_names():
    short = decide(answers(10, wins=1), answers(10), holdout=0.1)
    assert short.evidence.rows_needed == 300
    assert "about 300 more labelled rows" in short.reason
    unproven = decide(answers(60, wins=6, losses=2), NONE, mode="better")
    assert f"about {unproven.evidence.rows_needed} more labelled rows would decide" in unproven.reason


def test_metrics_hold_both_sides_and_every_slice():
    found = decide(answers(10, wins=5, right=5, slice_="eu"), answers(10))
    assert found.metrics.champion == Metrics(0.75, {"class yes": 0.75, "slice eu": 0.5})
    assert found.metrics.candidate == Metrics(1.0, {"class yes": 1.0, "slice eu": 1.0})
    assert decide(NONE, NONE).metrics.champion == Metrics()
    assert accuracy(np.empty(0, bool), {}) == Metrics()


def test_selecting_rows_keeps_them_together():
    some = answers(6, wins=2, right=1, slice_="eu").select(np.array([0, 2]))
    assert some.targets.tolist() == [1, 1]
    assert (some.champion.tolist(), some.candidate.tolist()) == ([1, 0], [1, 1])
    assert (some.labels, some.slices) == (["yes", "yes"], ["eu", "eu"])


def test_nonsense_is_a_sentence_with_its_numbers():
    assert nonsense(Sense(120, 0.31, 0.875, sound=False)) == (
        "the batch's labels agree with the live version on 31% of 120 rows of known labels, against 88% on trusted "
        "rows; its rows are quarantined ('dripstone data admit' if the world has changed)"
    )
