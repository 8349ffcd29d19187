"""Which lives are lived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.curation.life import STAGES, Life

UNIFORM = "screen+replay:2000"
DEFAULT = "screen+dedupe+noise+replay:2000"


def _with(policy: str) -> str:
    return UNIFORM.replace("+", f"+{policy}+", 1)


RIDGE, LOOP = "head@ridge", "suffix:1@adamw"

POLICIES: dict[tuple[str, str], Sequence[str]] = {
    (RIDGE, "as it is"): (UNIFORM, _with("noise"), _with("noise:weigh"), _with("dedupe"), _with("weight"), DEFAULT),
    (RIDGE, "10 % wrong"): (UNIFORM, _with("noise"), _with("noise:weigh"), DEFAULT),
    (RIDGE, "20 % wrong"): (UNIFORM, _with("noise"), _with("noise:weigh"), DEFAULT),
    (RIDGE, "40 % wrong"): (UNIFORM, _with("noise"), _with("noise:weigh"), DEFAULT),
    (RIDGE, "30 % duplicates"): (UNIFORM, _with("dedupe"), DEFAULT),
    (RIDGE, "1:50 imbalance"): (UNIFORM, _with("weight"), DEFAULT),
    (LOOP, "as it is"): (UNIFORM, _with("noise"), _with("prune"), _with("prune:infobatch"), _with("augment"), DEFAULT),
    (LOOP, "20 % wrong"): (UNIFORM, _with("noise"), DEFAULT),
    (LOOP, "30 % duplicates"): (UNIFORM, DEFAULT),
    (LOOP, "1:50 imbalance"): (UNIFORM, _with("weight"), DEFAULT),
}


def lives(learners: Sequence[str], data: Sequence[str], seeds: int, quick: bool) -> Iterator[Life]:
    """All of them, seed after seed, so that a run that is cut short has whole seeds."""
    for seed in range(seeds):
        for name in data:
            for (learner, spoilt), policies in POLICIES.items():
                if learner in learners:
                    yield from (Life(name, spoilt, learner, policy, seed, quick) for policy in policies)


DATA = tuple(STAGES)
