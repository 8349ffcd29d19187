"""What the bench asks of the gate, and whether it was met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.gate.lives import Summary
from bench.gate.peers import PEERS
from bench.gate.reuse import Reuse
from bench.gate.tables import Summaries, number, percent
from dripstone.view.output import table

ALPHA = 0.05
MOST_DISCORDANT = 420
LARGEST = 20_000
_CEILING = 0.9995


@dataclass(frozen=True, slots=True)
class Goal:
    """``verdict`` is ``met``, ``MISSED``, or ``equal`` where nobody can be better."""

    name: str
    measured: str
    verdict: str


def goals(own: Summaries, peers: Summaries, prefix: str = "") -> list[Goal]:
    """The goals of a set of lives, by size."""
    found = []
    for (gate, fresh), summary in own.items():
        label = f"{prefix}{gate}, {fresh} rows"
        if gate == "better":
            found += _better(label, fresh, summary)
        else:
            found += [*_steady(label, summary), _against_peers(label, fresh, summary, peers)]
    return found


def reuse_goals(lives: Sequence[Reuse]) -> list[Goal]:
    """After many null candidates the claim is near the truth, which is 0, in every life."""
    claims = {}
    for life in lives:
        if life.setting.gate == "steady":
            claims.setdefault(life.setting.fresh, []).append(abs(life.claimed))
    return [
        _goal(
            f"reused rows, {fresh} fresh: claim within 0.3 points",
            f"{max(found) * 100:.2f} at most",
            max(found) <= 0.003,
        )
        for fresh, found in claims.items()
    ]


def show(found: Sequence[Goal]) -> str:
    """The goals as a table."""
    return table(["goal", "measured", "verdict"], [[goal.name, goal.measured, goal.verdict] for goal in found])


def _better(label: str, fresh: int, summary: Summary) -> list[Goal]:
    any_bad = summary.any_without_gain
    found = [_goal(f"{label}: any without gain in <= 5% of lives", percent(any_bad, 2), any_bad <= ALPHA)]
    if fresh == LARGEST:
        few = summary.discordant <= MOST_DISCORDANT
        found += [
            _goal(f"{label}: >= 95% of the good promoted", percent(summary.good), summary.good >= 0.95),
            _goal(f"{label}: median differing rows <= {MOST_DISCORDANT}", number(summary.discordant), few),
        ]
    return found


def _steady(label: str, summary: Summary) -> list[Goal]:
    near = 1 - summary.drawdown
    return [
        _goal(
            f"{label}: net change positive in >= 99% of lives",
            percent(summary.net_positive, 2),
            summary.net_positive >= 0.99,
        ),
        _goal(f"{label}: never > 1.5 below the best in >= 95% of lives", percent(near, 2), near >= 0.95),
    ]


def _against_peers(label: str, fresh: int, summary: Summary, peers: Summaries) -> Goal:
    name = f"{label}: more good promoted than by any peer that keeps the bound"
    keeping = {peer: peers[peer, fresh].good for peer in PEERS if peers[peer, fresh].keeps_bound}
    if not keeping:
        return _goal(name, f"{percent(summary.good)}, no peer keeps it", summary.keeps_bound)
    best = max(keeping, key=lambda peer: keeping[peer])
    measured = f"{percent(summary.good)} against {percent(keeping[best])} ({best})"
    if min(summary.good, keeping[best]) >= _CEILING:
        return Goal(name, measured, "equal")
    return _goal(name, measured, summary.good > keeping[best])


def _goal(name: str, measured: str, met: bool) -> Goal:
    return Goal(name, measured, "met" if met else "MISSED")
