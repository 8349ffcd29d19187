"""What this bench should show: no peer does better on a stream that drifts."""

from __future__ import annotations

from collections.abc import Sequence

from bench.drift.results import Result
from bench.drift.roster import DRIPSTONE, OURS, PEERS


def goal(results: Sequence[Result], stream: str, delay: int) -> str | None:
    """Met or missed, and by how many points; None where Dripstone or every peer is missing."""
    found = {one.task.learner: one.accuracy for one in results if (one.task.stream, one.task.delay) == (stream, delay)}
    peers = {name: accuracy for name, accuracy in found.items() if name in PEERS}
    if DRIPSTONE not in found or not peers:
        return None
    best = max(peers, key=lambda name: peers[name])
    gap = 100 * (found[DRIPSTONE] - peers[best])
    others = [f"{name}: {100 * (found[name] - peers[best]):+.2f}" for name in OURS[1:] if name in found]
    beside = f" ({'; '.join(others)})" if others else ""
    return (
        f"{'met   ' if gap >= 0 else 'MISSED'}  {stream}, delay {delay:,}: {100 * found[DRIPSTONE]:.2f} against "
        f"{100 * peers[best]:.2f} of the best peer, {best}: {gap:+.2f} points{beside}"
    )


def goals(results: Sequence[Result]) -> list[str]:
    """A line a stream and delay."""
    places = dict.fromkeys((one.task.stream, one.task.delay) for one in results)
    return [line for place in sorted(places, key=lambda place: place[1]) if (line := goal(results, *place))]
