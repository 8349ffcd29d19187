"""What is printed of lives."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from bench.methods.life import Lived
from bench.methods.streams import Stream
from dripstone.view.output import table


def last(lived: Lived) -> float:
    """Accuracy at the end, the mean over the groups of rows."""
    return mean(lived.accuracy[-1].values())


def forgotten(lived: Lived, stream: Stream) -> float:
    """By how much groups were known better after the stage that taught them, or a later one, than at the end."""
    falls = []
    for group, stage in stream.learned.items():
        if stage < len(stream.stages):
            falls.append(max(known[group] for known in lived.accuracy[stage:]) - lived.accuracy[-1][group])
    return mean(falls)


def whole_table(lives: Sequence[Sequence[Lived]], stream: Stream) -> str:
    """A row a method, means over its lives."""
    rows = []
    for some in lives:
        if broken := [one.error for one in some if one.error]:
            rows.append([some[0].method, f"{some[0].rate:g}", broken[0][:60], *[""] * 6])
            continue
        rows.append(
            [
                some[0].method,
                f"{some[0].rate:g}",
                f"{mean(map(last, some)):.4f}",
                f"{mean(forgotten(one, stream) for one in some):.4f}",
                f"{mean(one.seconds for one in some):.2f}",
                f"{mean(max(one.state) for one in some) / 1000:,.1f}",
                f"{mean(one.risen for one in some) / 1e6:,.1f}",
                f"{mean(mean(one.delta) for one in some) / 1000:,.1f}",
                f"{mean(one.moved for one in some):,.0f}",
            ]
        )
    heads = ["method", "rate", "accuracy", "forgotten", "CPU-s", "state kB", "peak MB", "kB a version", "numbers moved"]
    return table(heads, rows)
