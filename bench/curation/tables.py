"""What was lived, as tables, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.curation.life import Lived
from bench.curation.roster import DEFAULT, LOOP, POLICIES, RIDGE, UNIFORM
from dripstone.view.output import table

TOLERATED = 0.3
"""Points that a policy may lose where it is of no use."""

WON_BACK = 2 / 3
SAVED = 0.3


class Found:
    """Means over the seeds that all policies of a condition have in common."""

    def __init__(self, lived: Sequence[Lived]) -> None:
        self._lived = {
            (one.life.data, one.life.learner, one.life.spoilt, one.life.policy, one.life.seed): one for one in lived
        }
        self.data = sorted({one.life.data for one in lived})

    def of(self, data: str, learner: str, spoilt: str, policy: str) -> list[Lived]:
        """The lives of a policy, by seed."""
        key = (data, learner, spoilt, policy)
        return [
            one for (*found, _), one in sorted(self._lived.items(), key=lambda item: item[0]) if tuple(found) == key
        ]

    def accuracy(self, data: str, learner: str, spoilt: str, policy: str) -> float | None:
        """In points."""
        found = self.of(data, learner, spoilt, policy)
        return 100 * float(np.mean([one.accuracy for one in found])) if found else None

    def cpu(self, data: str, learner: str, spoilt: str, policy: str) -> float | None:
        found = self.of(data, learner, spoilt, policy)
        return float(np.mean([one.cpu_seconds for one in found])) if found else None


def results(found: Found, data: str) -> str:
    """A row a life that was lived."""
    rows = []
    for (learner, spoilt), policies in POLICIES.items():
        base = found.of(data, learner, spoilt, UNIFORM)
        for policy in policies:
            mine = found.of(data, learner, spoilt, policy)
            if mine and base:
                rows.append([learner, spoilt, _short(policy), *_cells(mine, base)])
    return table(["learner", "stream", "policy", "accuracy", "against uniform", "CPU-s", "ratio", "learned"], rows)


def _cells(mine: Sequence[Lived], base: Sequence[Lived]) -> list[str]:
    accuracies = 100 * np.array([one.accuracy for one in mine])
    by_seed = {one.life.seed: one for one in base}
    pairs = [(one, by_seed[one.life.seed]) for one in mine if one.life.seed in by_seed]
    gains = 100 * np.array([one.accuracy - other.accuracy for one, other in pairs])
    ratios = [one.cpu_seconds / other.cpu_seconds for one, other in pairs]
    return [
        f"{accuracies.mean():.2f}",
        f"{gains.mean():+.2f} ({gains.min():+.2f} to {gains.max():+.2f})",
        f"{np.mean([one.cpu_seconds for one in mine]):.0f}",
        f"{np.mean(ratios):.2f}",
        f"{np.mean([one.learned for one in mine]):,.0f} of {np.mean([one.sent for one in mine]):,.0f}",
    ]


def _short(policy: str) -> str:
    return "uniform" if policy == UNIFORM else policy.removeprefix("screen+").removesuffix("+replay:2000")


def goals(found: Found) -> Iterator[str]:
    """Each goal, met or missed, with its figures."""
    for data in found.data:
        for learner in (RIDGE, LOOP):
            for policy in POLICIES[learner, "20 % wrong"][1:]:
                yield from _noise(found, data, learner, policy)
        for policy in (p for p in POLICIES[LOOP, "as it is"] if "prune" in p):
            yield from _prune(found, data, policy)
        yield from _default(found, data)


def _noise(found: Found, data: str, learner: str, policy: str) -> Iterator[str]:
    clean, spoilt = (found.accuracy(data, learner, how, UNIFORM) for how in ("as it is", "20 % wrong"))
    mended = found.accuracy(data, learner, "20 % wrong", policy)
    kept = found.accuracy(data, learner, "as it is", policy)
    if clean is None or spoilt is None or mended is None or kept is None or "noise" not in policy:
        return
    share = (mended - spoilt) / (clean - spoilt)
    yield _goal(
        share >= WON_BACK,
        f"{data}, {learner}, {_short(policy)}: of {clean - spoilt:.2f} points that 20 % wrong labels cost, "
        f"{share:.0%} won back (two thirds)",
    )
    yield _goal(
        kept >= clean - TOLERATED, f"{data}, {learner}, {_short(policy)}: {kept - clean:+.2f} points at 0 % (-0.3)"
    )


def _prune(found: Found, data: str, policy: str) -> Iterator[str]:
    here = (data, LOOP, "as it is")
    base, mine = found.accuracy(*here, UNIFORM), found.accuracy(*here, policy)
    dear, cheap = found.cpu(*here, UNIFORM), found.cpu(*here, policy)
    if base is None or mine is None or dear is None or cheap is None:
        return
    met = 1 - cheap / dear >= SAVED and mine >= base - TOLERATED
    yield _goal(
        met, f"{data}, {_short(policy)}: saves {1 - cheap / dear:.0%} CPU (30 %) at {mine - base:+.2f} points (-0.3)"
    )


def _default(found: Found, data: str) -> Iterator[str]:
    worst = []
    for learner, spoilt in POLICIES:
        base, mine = (found.accuracy(data, learner, spoilt, policy) for policy in (UNIFORM, DEFAULT))
        if base is not None and mine is not None:
            worst.append((mine - base, f"{learner}, {spoilt}"))
    if worst:
        lowest, where = min(worst)
        yield _goal(lowest >= -TOLERATED, f"{data}, {_short(DEFAULT)}: at worst {lowest:+.2f} points ({where}; -0.3)")


def _goal(met: bool, words: str) -> str:
    return f"{'met   ' if met else 'MISSED'}  {words}"
