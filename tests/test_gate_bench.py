"""The simulation of the gate, tiny: it judges by the real gate, and its shortcuts change no verdict."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench.gate import __main__ as bench
from bench.gate import goals, power, reuse, slice_loss, stall
from bench.gate.lives import GATES, Job, Lives, Summary, live, summarize
from bench.gate.peers import PEERS, decide, least_wins
from bench.gate.proof import first_reach
from bench.gate.store import SimulatedStore, leads, to_answers
from bench.gate.truth import (
    ANCHOR,
    CANDIDATE,
    GOOD,
    HARMFUL,
    LIVE,
    NULL,
    SLICE,
    answer,
    cells,
    disputed,
    draw_disputed,
    draw_rows,
    right,
    step,
    stream,
)
from bench.gate.work import workers

from dripstone.core.config import GateConfig
from dripstone.gate.evidence import gain_evidence
from dripstone.gate.judge import judge

ROOT = Path(__file__).parent.parent
TINY = bench.Scale(lives=2, sliced=2, reuse=1, stall=1, paths=3, trials=3, candidates=10)


def generator(seed=0):
    return np.random.default_rng(seed)


def store(seed=0, slices=1, trusted=300, **config):
    made = SimulatedStore(GateConfig(**config), generator(seed), slices)
    made.trust(trusted)
    return made


def test_a_stream_has_the_shares_of_the_issue():
    gains = stream(200, generator())
    assert [(gains == gain).sum() for gain in (HARMFUL, NULL, GOOD)] == [100, 60, 40]


@pytest.mark.parametrize("gain", [HARMFUL, NULL, GOOD])
def test_a_step_changes_the_true_accuracy_by_its_gain_and_flips_four_percent(gain):
    joint = np.array([[0.3, 0.05], [0.02, 0.63]])
    odds = cells(joint, step(0.68, gain)).reshape(2, 2, 2)
    assert odds.sum() == pytest.approx(1)
    assert odds[..., 1].sum() == pytest.approx(0.68 + gain)
    assert odds[:, 0, 1].sum() + odds[:, 1, 0].sum() == pytest.approx(0.04)


def test_rows_follow_the_truth_and_a_new_answer_does_not_touch_the_old_ones():
    joint, change = np.array([[0.3, 0.05], [0.02, 0.63]]), step(0.68, 0.02)
    rows = draw_rows(np.tile(cells(joint, change), 10) / 10, 200_000, generator())
    for who, share in ((ANCHOR, 0.65), (LIVE, 0.68), (CANDIDATE, 0.70)):
        assert right(rows, who).mean() == pytest.approx(share, abs=0.006)
    assert np.bincount(rows >> SLICE).min() > 19_000
    again = answer(rows, change, generator(1))
    assert (again >> 1 == rows >> 1).all()
    assert right(again, CANDIDATE).mean() == pytest.approx(0.70, abs=0.006)


def test_disputed_rows_are_those_on_which_not_all_agree():
    odds = np.full(8, 1 / 8)
    assert disputed(np.arange(16)).tolist() == [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14]
    assert set(np.unique(draw_disputed(odds, 1000, generator()))) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("mode", ["steady", "better"])
@pytest.mark.parametrize("gain", [-0.02, 0.0, 0.03])
def test_rows_that_all_have_alike_change_no_verdict(mode, gain):
    draw, change = generator(5), step(0.68, gain)
    odds = cells(np.array([[0.28, 0.07], [0.04, 0.61]]), change)
    trusted = draw_rows(odds, 500, draw)
    for _ in range(10):
        fresh = draw_rows(odds, 4000, draw)
        few = disputed(fresh)
        found = []
        for rows in (fresh, few):
            answers = to_answers(np.concatenate([rows, trusted]), anchored=True, slices=1)
            found.append((answers, judge(answers, len(rows), tested=3, config=GateConfig(mode=mode))))
        (_, whole), (answers, thin) = found
        assert (thin.verdict, thin.harm) == (whole.verdict, whole.harm)
        assert thin.evidence.wealth == pytest.approx(whole.evidence.wealth)
        assert (thin.evidence.discordant, thin.evidence.alpha_spent) == (
            whole.evidence.discordant,
            whole.evidence.alpha_spent,
        )
        if whole.verdict == "promoted":
            assert leads(answers, len(fresh) - len(few)) == whole.new_best


def test_many_fresh_rows_are_counted_and_the_newest_kept():
    made = store(trusted=100)
    made.config = GateConfig(trusted=100)
    fresh = made.fresh(step(0.5, 0.01), 5000)
    assert len(fresh.newest) == 100
    assert len(fresh.judged) + fresh.left_out == 5000
    assert 100 < len(fresh.judged) < 320


def test_a_promotion_moves_the_truth_the_rows_and_the_anchor():
    made = store(slices=10, trusted=4000)
    gained = step(made.accuracy, 0.03)
    assert made.hear(gained, made.fresh(gained, 2000)).verdict == "promoted"
    assert made.accuracy == pytest.approx(0.53)
    assert len(made.trusted) == 4000
    assert not made.anchored
    assert (right(made.trusted, ANCHOR) == right(made.trusted, LIVE)).all()
    assert made.joint[0, 1] == made.joint[1, 0] == 0
    assert made.tested == 1
    lost = step(made.accuracy, -0.03)
    rows = np.concatenate([answer(made.trusted, lost, made.draw), made.fresh(lost, 500).newest])
    made.promote(lost, rows, new_best=False)
    assert made.anchored
    assert made.joint[1].sum() == pytest.approx(0.53)
    assert right(made.trusted, ANCHOR).mean() > right(made.trusted, LIVE).mean()


def test_a_refused_candidate_leaves_everything_as_it_was():
    made = store(trusted=4000)
    before = made.trusted.copy()
    lost = step(made.accuracy, -0.04)
    assert made.hear(lost, made.fresh(lost, 200)).verdict == "refused"
    assert (made.trusted == before).all()
    assert (made.accuracy, made.tested) == (0.5, 0)


def test_the_row_of_a_proof_is_the_first_that_the_evidence_calls_one():
    signs = np.where(generator(2).random(400) < 0.7, 1, -1)
    row = first_reach(signs, 40.0)
    for rows, proven in ((row - 1, False), (row, True)):
        found = gain_evidence(signs[:rows], alpha=0.05, tested=0, holdout=0.2)
        assert (found.wealth >= found.threshold) == proven


def test_mcnemar_by_hand():
    # 8 of 9: P(more) = 1/512, P(as many) = 9/512; mid-p = 2 * (1 + 4.5)/512 = 0.0215; 7 of 9: 2 * (10 + 18)/512 = 0.109
    assert least_wins(9) == 8
    assert least_wins(3) == 4


def test_the_bootstrap_takes_95_percent_of_resamples_above_zero():
    wins, losses = np.array([30, 25, 21, 3, 0]), np.array([10, 20, 20, 0, 0])
    drawn = [decide("bootstrap 95 %", wins, losses, 1000, generator(seed)).tolist() for seed in range(3)]
    assert all(found[0] and not any(found[1:3]) and not found[4] for found in drawn)


@pytest.mark.parametrize("gate", GATES)
def test_lives_depend_on_their_numbers_alone(gate):
    whole = live(Job(gate, 60, 2, 0, 3, candidates=8))
    parts = Lives.join([live(Job(gate, 60, 2, first, 1, candidates=8)) for first in range(3)])
    for name in ("gains", "promoted", "discordant"):
        assert (getattr(whole, name) == getattr(parts, name)).all()
        assert getattr(whole, name).shape == (3, 8)


def test_a_summary_by_hand():
    gains = np.array([[GOOD, HARMFUL, HARMFUL, HARMFUL, HARMFUL], [GOOD, NULL, HARMFUL, GOOD, GOOD]])
    promoted = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0]], dtype=bool)
    found = summarize(Lives(gains, promoted, np.array([[10, 1, 1, 1, 1], [20, 1, 1, 30, 1]])))
    assert (found.good, found.null, found.harmful) == (0.75, 0.0, 0.8)
    assert (found.any_without_gain, found.net_positive, found.drawdown) == (0.5, 0.5, 0.5)
    assert found.net == pytest.approx(0.005)
    assert found.discordant == 20
    assert not found.keeps_bound


def test_sure_gains_are_proven_by_eight_rows_and_the_oracle_needs_fewer():
    found = power.simulate(power.Setting(0.02, 0.02, 20))
    assert set(found.discordant) == {8.0}
    assert (found.oracle_rows <= found.rows).all()
    assert found.at(10**9) == 1.0


def test_null_candidates_claim_nothing_and_the_rows_lie():
    (ours, peer) = (reuse.simulate(reuse.Setting(gate, 0, 0, candidates=60)) for gate in reuse.GATES)
    assert ours.claimed == 0
    assert ours.inflation > 0.01
    assert peer.claimed > 0.01


def test_small_updates_go_through():
    found = stall.simulate(0, updates=40)
    assert found.promoted > 5
    assert found.refused == 0
    assert 0 < found.gain <= 40 * stall.GAIN + 1e-9


def test_a_loss_in_a_slice_is_refused_where_the_rows_show_it():
    losing, even = (slice_loss.simulate(slice_loss.Setting(400, loss, 10)) for loss in (slice_loss.LOSS, 0.0))
    assert losing.refused >= 0.8
    assert even.refused <= 0.2


def summary(good, drawdown=0.0):
    return Summary(good, 0.0, 0.0, 0.0, 1.0, drawdown, 0.1, 300.0)


@pytest.mark.parametrize(
    ("own", "peer", "drawdown", "verdict"),
    [(0.9, 0.8, 0.0, "met"), (0.8, 0.9, 0.0, "MISSED"), (0.8, 0.9, 0.06, "met"), (1.0, 1.0, 0.0, "equal")],
)
def test_only_peers_that_keep_the_bound_count(own, peer, drawdown, verdict):
    peers = {(name, 200): summary(peer, drawdown) for name in PEERS}
    found = goals.goals({("steady", 200): summary(own)}, peers)
    assert [goal.verdict for goal in found] == ["met", "met", verdict]


def test_the_whole_run_prints_every_table_and_goal(capsys):
    with workers(1) as spread:
        found = bench.run(TINY, spread)
    printed = capsys.readouterr().out
    for words in (
        "Proof of the first",
        "A loss in one slice",
        "null candidates",
        "small honest updates",
        "2 lives with",
    ):
        assert words in printed
    assert len(found) == 30
    assert all(goal.verdict in ("met", "MISSED", "equal") for goal in found)


def test_processes_give_what_one_gives():
    jobs = [Job("steady", 60, 1, first, 1, candidates=5) for first in range(3)]
    with workers(2) as many, workers(1) as one:
        for left, right_ in zip(many("", live, jobs), one("", live, jobs), strict=True):
            assert (left.promoted == right_.promoted).all()


def test_help_names_the_options():
    done = subprocess.run(
        [sys.executable, "-m", "bench.gate", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert all(option in done.stdout for option in ("--lives", "--quick", "--plot"))
