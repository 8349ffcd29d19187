"""What was lived, as tables, and how it stands to the goals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.lm.domains import ORDER
from bench.lm.life import Lived
from dripstone.view.output import table

BASE, AGAIN, OURS = "full, replay", "retrained at every stage", "Dripstone"


def results(lived: Sequence[Lived]) -> str:
    """A row a method: perplexities at the end, worst loss of a domain, CPU-s and bytes of the later stages."""
    methods = list(dict.fromkeys(one.life.method for one in lived))
    header = ["method", "seeds", *ORDER, "worst rise", "CPU-s", "MB kept", "gate"]
    return table(header, [_row(method, [one for one in lived if one.life.method == method]) for method in methods])


def _row(method: str, lived: Sequence[Lived]) -> list[str]:
    last = np.mean([one.perplexity[-1] for one in lived], axis=0)
    return [
        method,
        str(len(lived)),
        *(f"{value:.2f}" for value in last),
        f"{np.mean([rise(one) for one in lived]):.3f}",
        f"{np.mean([sum(one.cpu_seconds[1:]) for one in lived]):.0f}",
        f"{np.mean([sum(one.kept_bytes[1:]) for one in lived]) / 1e6:.1f}",
        " ".join(sorted({verdict for one in lived for verdict in one.verdicts[1:]})),
    ]


def matrix(one: Lived) -> str:
    """Perplexity of each domain after each stage."""
    rows = [
        [f"after {name}", *(f"{value:.2f}" for value in row)] for name, row in zip(ORDER, one.perplexity, strict=True)
    ]
    return table([f"{one.life.method}, seed {one.life.seed}", *ORDER], rows)


def rise(one: Lived) -> float:
    """The largest factor by which a domain's perplexity is, at the end, that after it was learned."""
    return max(one.perplexity[-1][place] / one.perplexity[place][place] for place in range(len(ORDER) - 1))


def goals(lived: Sequence[Lived]) -> list[str]:
    """The goals, met or missed, as means over the seeds that both sides have lived."""
    by = {(one.life.method, one.life.seed): one for one in lived}
    seeds = [seed for method, seed in by if method == OURS and {(BASE, seed), (AGAIN, seed)} <= by.keys()]
    if not seeds:
        return [f"The goals need {OURS}, {BASE} and {AGAIN}."]
    ours, base, again = ([by[method, seed] for seed in seeds] for method in (OURS, BASE, AGAIN))
    newest = np.mean([mine.perplexity[-1][-1] / full.perplexity[-1][-1] for mine, full in zip(ours, base, strict=True)])
    share = np.mean([_seconds(mine) / _seconds(whole) for mine, whole in zip(ours, again, strict=True)])
    worst = float(np.mean([rise(one) for one in ours]))
    return [
        goal("first domains, times what they were", worst, 1.02),
        goal("newest domain, times that of full with replay", float(newest), 1.05),
        goal("CPU-s of the updates, times those of retraining", float(share), 1 / 3),
    ]


def _seconds(one: Lived) -> float:
    return sum(one.cpu_seconds[1:])


def goal(what: str, found: float, most: float) -> str:
    """A line that says whether it is met."""
    return f"{what}: {found:.3f}, at most {most:.3f} wanted: {'met' if found <= most else 'MISSED'}"
