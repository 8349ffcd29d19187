"""Simulated lives of a store: what is promoted, what it is worth, and how many rows that takes, beside other gates.

    python -m bench.gate [--lives 2000] [--quick] [--plot FILE]

A life is a stream of 200 candidates, half of them harmful by half a point, 30 % null and 20 % good by a point, each
with 200, 2,000 or 20,000 fresh rows of its own. Every verdict of ours is one of the real `judge`. Lives with ten slices
are a fifth as many. --quick takes about a minute and says little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gate import goals, power, reuse, slice_loss, stall, tables
from bench.gate.lives import MODES, Job, Lives, Summary, live, summarize
from bench.gate.peers import PEERS
from bench.gate.work import PROCESSES, Spread, workers
from bench.report import header

SIZES = (200, 2000, 20_000)
SLICES = 10
_JOB_LIVES = 10

LIVES_LEGEND = """good, null, harmful: share promoted. any w/o gain: lives in which a null or harmful one was promoted.
net > 0: lives that end above their start. > 1.5 below: lives in which live was once that many points below its best.
net: mean true change, points. rows: median differing fresh rows of the good ones promoted; in better, until the proof.
bound: net > 0 in 99 % of lives, and > 1.5 below in 5 % at most."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many lives, paths and trials of each kind."""

    lives: int
    sliced: int
    reuse: int
    stall: int
    paths: int
    trials: int
    candidates: int = 200


QUICK = Scale(lives=30, sliced=10, reuse=10, stall=20, paths=100, trials=100)


def scale_of(lives: int) -> Scale:
    """The full run, for so many lives."""
    return Scale(lives, sliced=min(lives, max(400, lives // 5)), reuse=200, stall=400, paths=1000, trials=1000)


def run(scale: Scale, spread: Spread, plot: Path | None = None) -> list[goals.Goal]:
    """Simulate everything and print each table when it is there."""
    _power(scale, spread, plot)
    _slice_loss(scale, spread)
    found = _reuse(scale, spread)
    _stall(scale, spread)
    peers = live_all(PEERS, 1, scale.lives, scale.candidates, spread)
    own = live_all(MODES, 1, scale.lives, scale.candidates, spread)
    print(f"\n{scale.lives} lives\n{tables.lives(own | peers)}\n{LIVES_LEGEND}", flush=True)
    sliced = live_all(MODES, SLICES, scale.sliced, scale.candidates, spread)
    print(f"\n{scale.sliced} lives with {SLICES} slices, harm watched in each\n{tables.lives(sliced)}", flush=True)
    prefix = f"{SLICES} slices, "
    return [*goals.goals(own, peers), *goals.reuse_goals(found), *goals.goals(sliced, peers, prefix)]


def live_all(
    gates: Sequence[str], slices: int, lives: int, candidates: int, spread: Spread
) -> dict[tuple[str, int], Summary]:
    """The lives of some gates, at every size."""
    found = {}
    for gate in gates:
        for size in SIZES:
            starts = range(0, lives, _JOB_LIVES)
            jobs = [Job(gate, size, slices, first, min(_JOB_LIVES, lives - first), candidates) for first in starts]
            name = f"{gate}, {size} rows, {slices} slice(s)"
            found[gate, size] = summarize(Lives.join(spread(name, live, jobs)))
    return found


def _power(scale: Scale, spread: Spread, plot: Path | None) -> None:
    found = spread("power", power.simulate, power.settings(scale.paths))
    if plot:
        power.plot(found, plot)
    print(f"Proof of the first candidate (bar {power.THRESHOLD:.0f}) by fresh rows, {scale.paths} paths each")
    print(f"{tables.power(found)}\nThe oracle knows the share of wins. Gains in points.", flush=True)


def _slice_loss(scale: Scale, spread: Spread) -> None:
    found = spread("slice loss", slice_loss.simulate, slice_loss.settings(scale.trials))
    print(f"\nA loss in one slice of {SLICES}, null overall, {scale.trials} candidates each")
    print(f"{tables.slice_loss(found)}", flush=True)


def _reuse(scale: Scale, spread: Spread) -> list[reuse.Reuse]:
    settings = [
        reuse.Setting(gate, fresh, life) for fresh in (0, 20) for gate in reuse.GATES for life in range(scale.reuse)
    ]
    found = spread("reuse", reuse.simulate, settings)
    print(f"\n{settings[0].candidates} null candidates on {reuse.ROWS} reused rows, mode steady; the true gain is 0")
    print(tables.reuse(found))
    print(
        "claimed: lower bounds of proven gains, summed (accuracy >=: measured gains). rows show: accuracy of the live"
    )
    print("version on its trusted rows less the true one. fresh show: that of promoted candidates on their fresh rows.")
    print("Points; the most is over lives.", flush=True)
    return found


def _stall(scale: Scale, spread: Spread) -> None:
    found = spread("stall", stall.simulate, range(scale.stall))
    each = f"+{stall.GAIN * 100:g} points and {stall.FRESH} fresh rows each"
    print(f"\n{stall.UPDATES} small honest updates, {each}, {scale.stall} lives, mode steady")
    print(f"{tables.stall(found)}", flush=True)


def main() -> None:
    """Run and print; the goals come last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=2000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plot", type=Path, help="draw the power curves into this PNG; needs matplotlib")
    options = parser.parse_args()
    if options.lives < 1:
        parser.error("--lives must be at least 1")
    print(header("bench.gate"), flush=True)
    began = time.monotonic()
    with workers(PROCESSES) as spread:
        found = run(QUICK if options.quick else scale_of(options.lives), spread, options.plot)
    print(f"\n{goals.show(found)}")
    print(f"\n{time.monotonic() - began:.0f} s, {PROCESSES} processes")


if __name__ == "__main__":
    main()
