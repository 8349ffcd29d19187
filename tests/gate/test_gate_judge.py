"""The verdict, case by case, and the sentence that says why."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
from gate_samples import hearing, marks, spread

from dripstone.core.config import GateConfig, Limits
from dripstone.core.errors import ModelError
from dripstone.core.records import HarmTest, Metrics
from dripstone.gate.answers import Answers, Marks
from dripstone.gate.evidence import level
from dripstone.gate.judge import harm_is_shown, judge


def decide(fresh, trusted, *, tested=0, metric="accuracy", latency_ms=None, settings=None, **heard):
    """Fresh rows, then trusted ones, each as (rows, wins, losses, wrong)."""
    parts = [spread(*fresh), spread(*trusted)]
    champion, candidate = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    answers = hearing(champion, candidate, **heard)
    config = GateConfig(**(settings or {}))
    return judge(answers, fresh[0], tested=tested, config=config, metric=metric, latency_ms=latency_ms)


NONE = (0,)
STEADY, BETTER, OFF = ({"mode": mode} for mode in ("steady", "better", "off"))
HURT = (100, 0, 60)

CASES = [
    # settings, fresh, trusted, verdict, beginning of the reason
    (STEADY, NONE, NONE, "undecided", "0 held-out rows of the 50 that a decision takes; about 250 more labelled rows"),
    (BETTER, NONE, NONE, "undecided", "there are no held-out rows to judge by yet; send more labelled rows"),
    (OFF, NONE, NONE, "promoted", "the gate is off: nothing was asked"),
    (STEADY, (20, 2), (20,), "undecided", "40 held-out rows of the 50 that a decision takes; about 50 more labelled"),
    (
        STEADY,
        (25, 2),
        (25,),
        "promoted",
        "no loss measured: of 50 held-out rows, 2 got better and 0 worse; no harm shown on 25 trusted rows; a gain is ",
    ),
    (BETTER, (25, 2), (25,), "undecided", "estimated gain +4.00 points on 50 held-out rows, not proven; about "),
    (
        STEADY,
        (60,),
        NONE,
        "promoted",
        "no loss measured: of 60 held-out rows, 0 got better and 0 worse; no trusted rows yet",
    ),
    (STEADY, (60, 0, 0, 60), NONE, "promoted", "no loss measured"),
    (
        BETTER,
        (60,),
        (60,),
        "undecided",
        "estimated gain +0.00 points on 120 held-out rows, not proven; no number of rows like these would prove it",
    ),
    (
        BETTER,
        NONE,
        (60, 3),
        "undecided",
        "estimated gain +5.00 points on 60 held-out rows, not proven; none of them is fresh, and only fresh ones",
    ),
    (STEADY, NONE, (60, 3), "promoted", "no loss measured: of 60 held-out rows, 3 got better and 0 worse; no harm"),
    (STEADY, (100, 0, 1), (900,), "undecided", "estimated gain -0.10 points on 1,000 held-out rows, not proven; no"),
    (
        STEADY,
        (50,),
        (4000, 0, 1),
        "promoted",
        "no loss measured lately: of 50 fresh rows, 0 got better and 0 worse; no harm shown on 4,000 trusted rows",
    ),
    (STEADY, (50,), (4000, 20, 24), "promoted", "no loss measured lately: of 50 fresh rows"),
    (STEADY, (50,), (4000, 20, 25), "undecided", "estimated gain -0.12 points on 4,050 held-out rows"),
    (STEADY, (50,), (900, 0, 1), "undecided", "estimated gain -0.11 points on 950 held-out rows"),
    (STEADY, (49,), (4000, 0, 1), "undecided", "estimated gain -0.02 points on 4,049 held-out rows"),
    (STEADY, (50, 0, 1), (4000,), "undecided", "estimated gain -0.02 points on 4,050 held-out rows"),
    (BETTER, (50,), (4000, 0, 1), "undecided", "estimated gain -0.02 points on 4,050 held-out rows"),
    (STEADY, (40, 30), NONE, "promoted", "gain proven: of 40 fresh rows, 30 got better and 0 worse, at least +"),
    (BETTER, (40, 30), (60,), "promoted", "gain proven: of 40 fresh rows, 30 got better and 0 worse, at least +"),
    (STEADY, (40, 30), HURT, "refused", "of 100 trusted rows"),
    (BETTER, (40, 30), HURT, "refused", "of 100 trusted rows"),
    (STEADY, NONE, HURT, "refused", "of 100 trusted rows"),
    (OFF, (60, 0, 60), HURT, "promoted", "the gate is off: nothing was asked"),
]


@pytest.mark.parametrize(("settings", "fresh", "trusted", "verdict", "reason"), CASES)
def test_verdicts(settings, fresh, trusted, verdict, reason):
    found = decide(fresh, trusted, settings=settings)
    assert found.verdict == verdict
    assert found.reason.startswith(reason)
    assert not re.search(r"nan|inf\b|None|\s\s", found.reason)
    assert found.new_best <= (verdict == "promoted")


def test_proof_is_accepted_below_the_minimum_of_rows():
    assert decide((20, 20), NONE).reason.startswith("gain proven")


def test_the_proof_says_its_numbers():
    found = decide((40, 30), (60,))
    assert re.fullmatch(
        r"gain proven: of 40 fresh rows, 30 got better and 0 worse, at least \+\d+\.\d points \((\d+|\d\.\de\+\d+) "
        r"against a bar of 40\); no harm shown on 60 trusted rows",
        found.reason,
    )
    assert found.evidence.wealth >= found.evidence.threshold == pytest.approx(40)
    assert found.evidence.alpha_spent == level(0.05, 1)
    assert f"+{found.evidence.gain_at_least * 100:.1f} points" in found.reason


def test_harm_says_slice_and_margin():
    places = ["eu" if row % 3 == 0 else "us" for row in range(350)]
    right = np.array([place == "us" for place in places])
    right[:50] = True
    fresh_then_trusted = hearing(np.ones(350, bool), right, slices=places)
    found = judge(fresh_then_trusted, 50, tested=0, config=GateConfig())
    assert (found.verdict, found.harm.slice) == ("refused", "slice eu")
    assert found.reason.startswith("of 100 trusted rows of slice eu, 100 got worse and 0 better; a loss above 1 point")
    other = judge(fresh_then_trusted, 50, tested=0, config=GateConfig(margin=0.025))
    assert "a loss above 2.5 points is shown (" in other.reason
    assert found.reason.endswith(f"against a bar of {found.harm.bar:.0f})")


def test_small_losses_that_add_up_are_harm_against_the_best_version_so_far():
    right = np.ones(1000, bool)
    champion, candidate = right.copy(), right.copy()
    champion[:60] = candidate[:66] = False
    alone = judge(hearing(champion, candidate), 0, tested=0, config=GateConfig())
    assert alone.verdict == "undecided"
    found = judge(hearing(champion, candidate, anchor=right), 0, tested=0, config=GateConfig())
    assert (found.verdict, found.harm.against, found.harm.worse) == ("refused", "anchor", 66)
    assert "66 got worse than with the best version so far and 0 better" in found.reason


def intruded(rows: int, taken: int, *, restricted_right: bool) -> Answers:
    """Trusted rows that the champion has right; the candidate gives ``taken`` of them to a class that is new."""
    lost = np.arange(rows) < taken
    return hearing(
        np.ones(rows, bool), ~lost if restricted_right else np.zeros(rows, bool),
        restricted=np.full(rows, restricted_right), intruding=lost,
    )  # fmt: skip


def test_answers_that_a_new_class_takes_are_intrusion_not_harm():
    found = judge(intruded(100, 40, restricted_right=True), 0, tested=0, config=GateConfig())
    assert found.verdict == "undecided"
    assert found.intrusion == pytest.approx(0.4)
    assert found.metrics.candidate.accuracy == pytest.approx(0.6)
    assert (found.flips.negative, found.harm.worse) == (40, 0)


def test_a_loss_among_the_old_classes_is_harm_with_or_without_intrusion():
    assert judge(intruded(100, 0, restricted_right=False), 0, tested=0, config=GateConfig()).verdict == "refused"


def test_intrusion_is_measured_on_trusted_rows():
    champion, candidate = spread(100)
    answers = hearing(champion, candidate, intruding=np.arange(100) < 50)
    assert judge(answers, 50, tested=0, config=GateConfig()).intrusion == 0.0
    assert judge(answers, 25, tested=0, config=GateConfig()).intrusion == pytest.approx(1 / 3)
    assert judge(answers, 100, tested=0, config=GateConfig()).intrusion == 0.0


def test_trusted_rows_of_labels_that_the_rival_does_not_know_are_no_harm():
    champion, candidate = spread(400, losses=400)
    for known in (np.zeros(400, bool), np.arange(400) < 3):
        found = judge(hearing(champion, candidate, known=known), 0, tested=0, config=GateConfig())
        assert found.verdict != "refused"
    half = np.arange(400) % 2 == 0
    found = judge(hearing(champion, candidate, known=half), 0, tested=0, config=GateConfig())
    assert (found.verdict, found.harm.rows) == ("refused", 200)


def test_a_champion_without_labels_is_beaten():
    none, all_ = np.zeros(60, bool), np.ones(60, bool)
    answers = hearing(none, all_, restricted=none, known=none)
    found = judge(answers, 60, tested=0, config=GateConfig())
    assert found.reason.startswith("gain proven: of 60 fresh rows, 60 got better and 0 worse")
    assert found.new_best


@pytest.mark.parametrize(
    ("settings", "fresh", "trusted", "verdict"),
    [
        (OFF, (60, 60), NONE, "promoted"),
        (STEADY, (60, 60), HURT, "refused"),
        (STEADY, (60, 58, 2), NONE, "undecided"),  # breaks the limit below
        (STEADY, (5, 5), (100,), "promoted"),  # too few to pass
    ],
)
def test_alpha_is_not_spent_on_what_the_test_does_not_decide(settings, fresh, trusted, verdict):
    limits = Limits(negative_flips=0.01) if verdict == "undecided" else Limits()
    found = decide(fresh, trusted, settings={**settings, "limits": limits})
    assert found.verdict == verdict
    assert (found.evidence.alpha_spent, found.evidence.gain_at_least) == (0.0, 0.0)
    assert found.evidence.rows == fresh[0]


@pytest.mark.parametrize("tested", [0, 1, 7])
def test_alpha_is_spent_where_the_test_decides_and_where_it_could_have(tested):
    for fresh in ((60, 60), (60,), (60, 0, 2)):
        found = decide(fresh, (100,), tested=tested)
        assert found.evidence.alpha_spent == pytest.approx(level(0.05, tested + 1))
        assert found.evidence.threshold == pytest.approx(1 / level(0.05, tested + 1))


def test_later_candidates_face_a_higher_bar():
    few = (60, 8)
    assert decide(few, NONE, settings=BETTER).verdict == "promoted"
    assert decide(few, NONE, tested=100, settings=BETTER).verdict == "undecided"


def test_proven_gain_does_not_pay_for_harm():
    found = decide((200, 150), HURT)
    assert found.evidence.wealth > found.evidence.threshold
    assert (found.verdict, found.new_best) == ("refused", False)


@pytest.mark.parametrize(
    ("limits", "latency_ms", "clause"),
    [
        (Limits(negative_flips=0.01), None, "5 of 400 held-out rows turned from right to wrong, more than the 1 %"),
        (Limits(calibration_error=0.05), None, "the calibration error is 0."),
        (Limits(latency_ratio=1.5), (1.0, 2.0), "a row takes 2.00 ms where the live version takes 1.00, more than the"),
    ],
)
def test_what_breaks_a_limit_waits(limits, latency_ms, clause):
    fresh, trusted = (100, 50, 5), (300,)
    assert decide(fresh, trusted).verdict == "promoted"
    found = decide(fresh, trusted, latency_ms=latency_ms, settings={"limits": limits})
    assert found.verdict == "undecided"
    assert found.reason.startswith(clause)
    assert found.reason.endswith("of gate.limits; the rows wait")
    assert found.evidence.alpha_spent == 0
    # Where a loss is shown, that is what counts; where the gate is off, nothing does.
    assert decide(fresh, HURT, latency_ms=latency_ms, settings={"limits": limits}).verdict == "refused"
    off = decide(fresh, trusted, latency_ms=latency_ms, settings={"limits": limits, "mode": "off"})
    assert off.verdict == "promoted"


def test_all_broken_limits_are_named():
    limits = Limits(negative_flips=0.01, calibration_error=0.01, latency_ratio=1.5)
    found = decide((100, 50, 5), (300,), latency_ms=(1.0, 2.0), settings={"limits": limits})
    assert found.reason.count("of gate.limits") == 3


def test_what_keeps_its_limits_is_promoted():
    limits = Limits(negative_flips=0.5, calibration_error=0.5, latency_ratio=3.0)
    found = decide((100, 50, 5), (300,), latency_ms=(1.0, 2.0), settings={"limits": limits})
    assert found.verdict == "promoted"
    assert (found.metrics.champion.latency_ms, found.metrics.candidate.latency_ms) == (1.0, 2.0)
    assert found.metrics.champion.calibration_error is None
    assert 0 < found.metrics.candidate.calibration_error < 0.5


def test_no_row_has_a_weight():
    zeros = np.zeros(160)
    steady = decide((60, 60), (100, 0, 100), weights=zeros)
    assert (steady.verdict, steady.evidence.alpha_spent) == ("undecided", 0.0)
    assert steady.reason.startswith("0 held-out rows of the 50 that a decision takes; about 250 more")
    better = decide((60, 60), (100, 0, 100), weights=zeros, settings=BETTER)
    assert (better.verdict, better.reason) == (
        "undecided",
        "there are no held-out rows to judge by yet; send more labelled rows",
    )
    assert (steady.metrics.champion.accuracy, steady.metrics.champion.by_slice) == (None, {})
    assert decide((60, 60), (100,), weights=zeros, settings=OFF).verdict == "promoted"


def test_weights_decide_which_rows_count():
    weights = np.concatenate([np.where(np.arange(60) < 20, 1.0, 0.0), np.zeros(100)])
    found = decide((60, 60), (100, 0, 100), weights=weights)
    assert (found.verdict, found.reason.partition(":")[0]) == ("promoted", "gain proven")
    assert found.metrics.candidate.accuracy == 1.0
    weights = np.concatenate([np.where(np.arange(60) < 20, 1e-3, 2e-3), np.ones(100)])
    light = decide((60, 60), (100,), weights=weights, settings=BETTER)
    assert light.reason.startswith("gain proven")  # fresh rows are weighed against each other


def better_probabilities(rows: int, change: float) -> Answers:
    """Everybody has every row right; the candidate is surer, by ``change``."""
    right = np.ones(rows, bool)
    answers = hearing(right, right)
    sure = Marks(right, np.full(rows, 0.6) + change)
    return dataclasses.replace(
        answers,
        candidate=sure,
        champion=dataclasses.replace(answers.champion, marks=Marks(right, np.full(rows, 0.6)), restricted=sure),
    )


def test_the_log_loss_sees_what_accuracy_does_not():
    answers = better_probabilities(2000, change=0.3)
    by_accuracy = judge(answers, 2000, tested=0, config=GateConfig(mode="better"))
    assert (by_accuracy.verdict, by_accuracy.evidence.discordant) == ("undecided", 0)
    found = judge(answers, 2000, tested=0, config=GateConfig(mode="better"), metric="log_loss")
    gain = math.log(0.9 / 0.6) / 5
    assert found.verdict == "promoted"
    assert 0 < found.evidence.gain_at_least < gain
    assert found.metrics.candidate.score - found.metrics.champion.score == pytest.approx(gain)
    assert found.metrics.candidate.accuracy == found.metrics.champion.accuracy == 1.0
    assert found.new_best


def test_a_worse_log_loss_is_harm_though_no_answer_changed():
    found = judge(better_probabilities(2000, change=-0.4), 0, tested=0, config=GateConfig(), metric="log_loss")
    assert (found.verdict, found.harm.worse, found.flips.negative) == ("refused", 2000, 0)


def test_probabilities_that_are_none_are_an_error_with_a_remedy():
    right = np.ones(60, bool)
    answers = dataclasses.replace(hearing(right, right), candidate=Marks(right, np.full(60, np.nan)))
    with pytest.raises(ModelError, match="a probability is nan") as caught:
        judge(answers, 60, tested=0, config=GateConfig(), metric="log_loss")
    assert caught.value.remedy


def test_only_trusted_rows_prove_nothing():
    found = decide(NONE, (100, 60))
    assert found.verdict == "promoted"
    assert found.reason.startswith("no loss measured")
    assert (found.evidence.alpha_spent, found.evidence.rows) == (0.0, 0)
    assert decide(NONE, (100, 60), settings=BETTER).verdict == "undecided"


def test_equal_predictions_lose_nothing_and_prove_nothing():
    for settings, verdict in ((STEADY, "promoted"), (BETTER, "undecided")):
        found = decide((100,), (100,), settings=settings)
        assert found.verdict == verdict
        assert not found.new_best
        assert (found.evidence.wealth, found.flips.negative, found.flips.positive) == (1.0, 0, 0)


def test_the_best_version_so_far_is_replaced_by_a_clear_lead_only():
    assert decide((60, 20, 2), (100,)).new_best
    assert not decide((60, 1, 1), (100,)).new_best
    assert not decide((60, 0, 2), (100,)).new_best
    anchor = np.ones(160, bool)
    behind = decide((60, 20, 2), (100,), anchor=anchor)
    assert (behind.verdict, behind.new_best) == ("promoted", False)


def test_rows_needed_are_those_that_the_reason_names():
    short = decide((10, 1), (10,), settings={"holdout": 0.1})
    assert short.evidence.rows_needed == 300
    assert "about 300 more labelled rows" in short.reason
    unproven = decide((60, 6, 2), NONE, settings=BETTER)
    assert f"about {unproven.evidence.rows_needed} more labelled rows would decide" in unproven.reason
    assert decide((40, 30), NONE).evidence.rows_needed == 0


def test_metrics_hold_both_sides_and_every_slice():
    places = ["eu"] * 10 + [None] * 10
    found = decide((10, 5), (10,), slices=places)
    assert found.metrics.champion == Metrics(
        accuracy=0.75, fresh_accuracy=0.5, by_slice={"class yes": 0.75, "slice eu": 0.5}, score=0.75
    )
    assert found.metrics.candidate.by_slice == {"class yes": 1.0, "slice eu": 1.0}
    assert found.metrics.candidate.calibration_error == pytest.approx(0.1)
    assert decide(NONE, NONE).metrics.champion == Metrics()


def test_harm_is_shown_at_its_bar_and_never_without_a_row():
    assert harm_is_shown(HarmTest(rows=10, wealth=20.0, bar=20.0))
    assert not harm_is_shown(HarmTest(rows=10, wealth=19.9, bar=20.0))
    assert not harm_is_shown(HarmTest())


def test_marks_are_not_changed_by_the_judgement():
    champion, candidate = spread(100, 10, 5)
    answers = hearing(champion, candidate, anchor=champion, weights=np.linspace(0, 1, 100))
    before = [part.copy() for part in (answers.candidate.right, answers.candidate.probability, answers.weights)]
    judge(answers, 50, tested=0, config=GateConfig())
    after = (answers.candidate.right, answers.candidate.probability, answers.weights)
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    assert marks(champion).right is champion


@pytest.mark.parametrize(
    ("wins", "losses", "fall", "verdict"),
    [(4, 1, 4, "promoted"), (1, 4, 0, "undecided"), (2, 2, 3, "undecided"), (4, 1, 60, "refused")],
)
def test_where_drift_is_expected_a_gain_on_fresh_rows_is_enough_while_no_harm_is_shown(wins, losses, fall, verdict):
    fresh, trusted = 20, 300
    before, after = spread(fresh, wins=wins, losses=losses)
    old, new = spread(trusted, losses=fall)
    given = hearing(np.concatenate([before, old]), np.concatenate([after, new]))
    config = GateConfig()
    found = judge(given, fresh, tested=0, config=config, drifting=True)
    assert found.verdict == verdict
    if verdict == "promoted":
        assert found.reason.startswith("no loss measured lately: of 20 fresh rows, 4 got better and 1 worse")
        assert judge(given, fresh, tested=0, config=config).verdict == "undecided"
        contested = judge(given, fresh, tested=0, config=config, drifting=True, contested=True)
        assert contested.verdict == "undecided"
        assert judge(given, fresh, tested=0, config=GateConfig(mode="better"), drifting=True).verdict == "undecided"
    same = hearing(np.concatenate([before, old]), np.concatenate([before, old]))
    assert judge(same, fresh, tested=0, config=config, drifting=True).reason.startswith("no loss measured: of 320")


def test_without_fresh_rows_drift_excuses_nothing():
    old, new = spread(300, losses=2)
    assert judge(hearing(old, new), 0, tested=0, config=GateConfig(), drifting=True).verdict == "undecided"


def test_where_drift_is_expected_who_leads_on_fresh_rows_alone_is_the_best_version_so_far():
    before, after = spread(20, wins=8, losses=1)
    old, new = spread(300, losses=5)
    given = hearing(np.concatenate([before, old]), np.concatenate([after, new]))
    assert judge(given, 20, tested=0, config=GateConfig(), drifting=True).new_best
    proven = judge(given, 20, tested=0, config=GateConfig(mode="off"))
    assert proven.verdict == "promoted"
    assert not proven.new_best
    hardly, then = spread(20, wins=2, losses=1)
    by_chance = hearing(np.concatenate([hardly, old]), np.concatenate([then, old]))
    found = judge(by_chance, 20, tested=0, config=GateConfig(), drifting=True)
    assert (found.verdict, found.new_best) == ("promoted", False)
