"""Whether a hundredth of the numbers costs a hundredth."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from bench.methods.life import Lived

SMALL = ("rows:0.01", "entries:0.01")


def goal_lines(lives: Sequence[Sequence[Lived]]) -> list[str]:
    """A line for each of the two selections with each optimiser, beside moving everything with the same one."""
    found = {some[0].method: some for some in lives if not any(one.error for one in some)}
    lines = []
    for name in SMALL:
        for method, some in found.items():
            selector, _, optimizer = method.partition("@")
            whole = found.get(f"full@{optimizer}")
            if selector != name or whole is None:
                continue
            # Of the last stage, which brings no new labels: rows of those move whatever the share.
            state = mean(one.state[-1] for one in some) / max(mean(one.state[-1] for one in whole), 1)
            peak = mean(one.risen for one in some) / mean(one.risen for one in whole)
            floor = mean(one.payload / one.floor for one in some)
            dense = mean(one.dense / one.payload for one in some)
            lines.append(
                f"{method}: state {state:.4f} of full's (0.011) {_met(state <= 0.011)}; peak memory {peak:.2f} (1) "
                f"{_met(peak < 1)}; delta {floor:.3f} of places and values (1.10) {_met(floor <= 1.1)}, "
                f"1/{dense:.0f} of dense (1/50) {_met(dense >= 50)}"
            )
    return lines


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"
