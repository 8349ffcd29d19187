"""Reasons: sentences with the numbers that matter, beyond what the examples in the source show."""

from __future__ import annotations

import math
import re

import pytest

from dripstone.core.config import GateConfig
from dripstone.core.records import Evidence, Flips, HarmTest
from dripstone.gate import reasons
from dripstone.gate.harm import OVERALL
from dripstone.gate.sense import Sense


def harm(**changes) -> HarmTest:
    known = {"slice": "class refund", "rows": 412, "worse": 31, "better": 4, "wealth": 212.3, "bar": 40.0}
    return HarmTest(**{**known, **changes})


def test_harm_names_its_slice():
    assert reasons.harm(harm(), 0.01).startswith("of 412 trusted rows of class refund, 31 got worse and 4 better;")
    assert reasons.harm(harm(slice="slice eu"), 0.01).startswith("of 412 trusted rows of slice eu,")
    assert reasons.harm(harm(slice=OVERALL), 0.01).startswith("of 412 trusted rows, 31 got worse and 4 better;")


def test_harm_says_when_it_is_against_the_best_version_so_far():
    found = reasons.harm(harm(against="anchor"), 0.01)
    assert found.startswith(
        "of 412 trusted rows of class refund, 31 got worse than with the best version so far and 4 better; a loss "
    )
    assert "best version" not in reasons.harm(harm(), 0.01)


@pytest.mark.parametrize(
    ("margin", "points"),
    [(0.01, "1 point"), (0.005, "0.5 points"), (0.025, "2.5 points"), (0.07, "7 points"), (0.29, "29 points")],
)
def test_the_margin_is_in_points(margin, points):
    assert f"a loss above {points} is shown (212 against a bar of 40)" in reasons.harm(harm(), margin)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.99, "1"), (40.0, "40"), (99_999.4, "99999"), (1e5, "1.0e+05"), (math.exp(700), "1.0e+304")],
)
def test_numbers_have_the_digits_that_matter(value, text):
    assert reasons.number(value) == text


def test_a_bar_is_not_rounded_below_itself():
    assert reasons.number(math.exp(math.log(1 / 0.05))) == "20"


def test_a_proof_of_a_real_metric_reads_as_one_of_counts():
    evidence = Evidence(wealth=86.0, threshold=40.0, wins=212, losses=180, rows=400, gain_at_least=0.0123)
    assert reasons.proof(evidence, 120) == (
        "gain proven: of 400 fresh rows, 212 got better and 180 worse, at least +1.2 points (86 against a bar of 40); "
        "no harm shown on 120 trusted rows"
    )


def test_no_loss_says_that_no_gain_is_proven():
    assert reasons.no_loss(Flips(0, 1, 1), 1) == (
        "no loss measured: of 1 held-out row, 1 got better and 0 worse; no harm shown on 1 trusted row; "
        "a gain is not proven"
    )
    assert "no trusted rows yet" in reasons.no_loss(Flips(3, 4, 300), 0)


def undecided(rows: int, gain: float | None, evidence: Evidence, **settings) -> str:
    return reasons.undecided(rows, gain, evidence, GateConfig(**settings))


def test_undecided_says_what_would_decide():
    fresh = Evidence(rows=30, rows_needed=700)
    assert undecided(20, None, Evidence(rows_needed=150)) == (
        "20 held-out rows of the 50 that a decision takes; about 150 more labelled rows"
    )
    assert undecided(0, None, Evidence(), mode="better").endswith("judge by yet; send more labelled rows")
    assert undecided(60, 0.0123, fresh, mode="better") == (
        "estimated gain +1.23 points on 60 held-out rows, not proven; about 700 more labelled rows would decide"
    )
    assert undecided(60, -0.001, Evidence(rows=60)) == (
        "estimated gain -0.10 points on 60 held-out rows, not proven; no number of rows like these would prove it, "
        "rows of another kind may"
    )
    assert undecided(60, 0.02, Evidence()) == (
        "estimated gain +2.00 points on 60 held-out rows, not proven; none of them is fresh, and only fresh ones "
        "prove a gain: send more labelled rows"
    )


def test_nonsense_is_a_sentence_with_its_numbers():
    assert reasons.nonsense(Sense(120, 0.31, 0.875, sound=False)) == (
        "the batch's labels agree with the live version on 31% of 120 rows of known labels, against 88% on trusted "
        "rows; its rows are quarantined ('dripstone data admit' if the world has changed)"
    )


def test_labels_need_not_be_texts():
    assert reasons.class_nonsense(7, Sense(40, 0.05, 0.9, sound=False)).startswith("the rows labelled 7 agree")
    assert (
        reasons.unlearned(7) == "the new label 7 was not learned on half of its held-out rows; its rows are quarantined"
    )
    assert "takes 3 of 9 right answers of class 0;" in reasons.theft(7, 0, 3, 9)
    assert "takes 3 of 9 right answers of all classes;" in reasons.theft(7, None, 3, 9)


def test_one_reason_of_many_rows_is_said_once():
    assert reasons.nothing_left(["a", "b", "a"]) == "every row was set aside: a; b"


def test_every_reason_is_one_clean_line():
    evidence = Evidence(wealth=86.0, threshold=40.0, wins=30, losses=10, rows=400, gain_at_least=0.012)
    found = [
        reasons.harm(harm(), 0.01),
        reasons.proof(evidence, 0),
        reasons.no_loss(Flips(1, 2, 60), 9),
        reasons.nonsense(Sense(3, 0.0, 1.0, sound=False)),
        reasons.class_nonsense("a", Sense(3, 0.0, 1.0, sound=False)),
        reasons.theft("a", "b", 3, 9),
        reasons.unlearned("a"),
    ]
    assert all(not re.search(r"nan|inf\b|None|\s\s|\n|[.;]$", text) for text in found)
