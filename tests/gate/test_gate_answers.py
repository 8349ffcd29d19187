"""Answers: who is held against whom, on which rows."""

from __future__ import annotations

import numpy as np
import pytest
from gate_samples import hearing, marks, spread

from dripstone.gate.answers import Marks, Rival


def yes(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


def test_a_rival_is_met_on_its_own_labels_with_its_own_labels():
    rival = Rival(marks(yes(1, 1, 0, 0)), marks(yes(1, 0, 1, 1)), known=yes(1, 1, 1, 0))
    assert rival.gains("accuracy").tolist() == [0, -1, 1]
    assert rival.gains("log_loss") == pytest.approx(np.array([0, -1, 1]) * np.log(9) / 5)


def test_what_the_champion_does_not_know_can_be_gained_but_not_lost():
    answers = hearing(yes(1, 0), yes(0, 1), restricted=yes(1, 0), known=yes(1, 0))
    assert answers.gains("accuracy").tolist() == [-1, 1]
    assert answers.champion.gains("accuracy").tolist() == [0]


def test_the_best_version_so_far_is_the_anchor_or_the_champion():
    alone = hearing(*spread(4))
    assert alone.best is alone.champion
    anchored = hearing(*spread(4), anchor=np.ones(4, bool))
    assert anchored.best is anchored.anchor


def test_selecting_rows_keeps_all_of_a_row_together():
    champion, candidate = yes(1, 0, 0), yes(0, 1, 0)
    weights, slices = np.array([0.1, 0.2, 0.3]), ["eu", None, "us"]
    answers = hearing(
        champion, candidate, anchor=champion, weights=weights, slices=slices, intruding=yes(0, 0, 1)
    ).select(np.array([2, 0]))
    assert len(answers) == 2
    assert answers.candidate.right.tolist() == [False, False]
    assert answers.champion.marks.right.tolist() == answers.anchor.marks.right.tolist() == [False, True]
    assert answers.weights.tolist() == [0.3, 0.1]
    assert answers.intruding.tolist() == [True, False]
    assert answers.partitions[1].codes.tolist() == [1, 0]
    assert answers.confidence.tolist() == [0.6, 0.6]


def test_no_rows_are_an_answer_too():
    nothing = hearing(*spread(5), weights=np.ones(5)).select(np.arange(0))
    assert (len(nothing), nothing.counting(), nothing.mean(nothing.gains("accuracy"))) == (0, 0, None)


def test_means_and_counts_follow_the_weights():
    champion, candidate = yes(0, 0, 0, 1), yes(1, 0, 0, 0)
    plain = hearing(champion, candidate)
    assert (plain.mean(plain.gains("accuracy")), plain.counting()) == (0.0, 4)
    heavy = hearing(champion, candidate, weights=np.array([1.0, 0.5, 0.0, 0.5]))
    assert (heavy.mean(heavy.gains("accuracy")), heavy.counting()) == (0.25, 3)
    light = hearing(champion, candidate, weights=np.zeros(4))
    assert (light.mean(light.gains("accuracy")), light.counting()) == (None, 0)


def test_scores_are_those_of_the_metric():
    version = Marks(yes(1, 0), np.array([1.0, 0.0], dtype=np.float32))
    assert version.scores("accuracy").tolist() == version.scores("log_loss").tolist() == [1, 0]
    assert version.select(np.array([1])).scores("accuracy").tolist() == [0]
