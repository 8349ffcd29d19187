"""What the bench prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bench.poison.attacks import Kind
from bench.poison.batches import Honest
from bench.poison.play import Result
from bench.poison.tracking import Trace
from dripstone.view.output import table

NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True)
class Run:
    """One seed: Dripstone's results with the traces of their poison, each peer's by its name, and the cost of all."""

    seed: int
    results: list[Result]
    traces: list[Trace]
    peers: dict[str, list[Result]]
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)


def _of(runs: Sequence[Run], kind: str) -> list[Result]:
    return [result for run in runs for result in run.results if result.kind == kind]


def _peer(runs: Sequence[Run], peer: str, kind: str) -> list[Result]:
    return [result for run in runs for result in run.peers[peer] if result.kind == kind]


def _traces(runs: Sequence[Run], kind: str = "") -> list[Trace]:
    pairs = [pair for run in runs for pair in zip(run.results, run.traces, strict=True)]
    return [trace for result, trace in pairs if kind in ("", result.kind)]


def _verdicts(results: Sequence[Result]) -> str:
    counts = Counter(reply.verdict for result in results for reply in result.replies)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _worst(results: Sequence[Result]) -> str:
    """The largest falls of promoted updates, overall and in a domain, in points."""
    falls = [fall for result in results if result.promoted for fall in result.falls]
    if not falls:
        return "-"
    worst = max(fall.overall for fall in falls), max(fall.domain for fall in falls)
    return " / ".join(f"{round(points, 1) + 0.0:.1f}" for points in worst)


def kinds_table(runs: Sequence[Run], names: Sequence[str]) -> str:
    """A row a kind of sending: what Dripstone did."""
    header = ["kind", "promoted", "harmful", "worst fall", "own", "back", "waiting", "verdicts"]
    rows = []
    for name in names:
        results, traces = _of(runs, name), _traces(runs, name)
        rows.append(
            [
                name,
                f"{sum(result.promoted for result in results)} of {len(results)}",
                str(sum(result.harmful for result in results)),
                _worst(results),
                str(sum(sum(trace.own.values()) for trace in traces)),
                str(sum(sum(trace.back.values()) for trace in traces)),
                str(sum(trace.waiting for trace in traces)),
                _verdicts(results),
            ]
        )
    return table(header, rows)


def peers_table(runs: Sequence[Run], names: Sequence[str], peers: Sequence[str]) -> str:
    """A row a kind: how often each learner let it through, and how often that did harm."""
    rows = []
    for name in names:
        theirs = [_through(_peer(runs, peer, name)) if peer in runs[0].peers else NOT_INSTALLED for peer in peers]
        rows.append([name, _through(_of(runs, name)), *theirs])
    return table(["promoted, harmful", "dripstone", *peers], rows)


def _through(results: Sequence[Result]) -> str:
    return f"{sum(result.promoted for result in results)}, {sum(result.harmful for result in results)}"


def final_table(runs: Sequence[Run], peers: Sequence[str]) -> str:
    """Accuracy on the test rows at the end of the lives, all harmful updates, and CPU time."""
    learners = {"dripstone": [run.results for run in runs]}
    learners |= {peer: [run.peers[peer] for run in runs] for peer in peers if peer in runs[0].peers}
    rows = [[peer, NOT_INSTALLED, *[""] * 4] for peer in peers if peer not in runs[0].peers]
    for name, lives in learners.items():
        everything = [result for life in lives for result in life]
        rows.append(
            [
                name,
                f"{np.mean([life[-1].accuracy for life in lives]):.4f}",
                f"{min(life[-1].accuracy for life in lives):.4f}",
                str(sum(result.harmful for result in everything if not result.honest)),
                str(sum(result.harmful for result in everything if result.honest)),
                f"{sum(result.cpu_seconds for result in everything) / len(lives):.1f}",
            ]
        )
    return table(["learner", "final accuracy", "lowest", "harmful attacks", "harmful honest", "CPU-s a life"], rows)


def goals(runs: Sequence[Run]) -> str:
    """A line a goal: what was found, and whether that meets it."""
    results = [result for run in runs for result in run.results]
    harmful = sum(result.harmful for result in results)
    attacks = sum(result.harmful for result in results if not result.honest)
    back = sum((trace.back for trace in _traces(runs)), Counter[str]())
    adds, refreshes = _honest(results, "adds"), _honest(results, "refreshes")
    share = sum(adds) / max(len(adds), 1)
    ways = f" ({', '.join(f'{count} {way}' for way, count in back.most_common())})" if back else ""
    return "\n".join(
        [
            f"harmful promoted: {harmful}, {attacks} of them attacks; goal 0: {_met(harmful == 0)}",
            f"poisoned rows that came back: {back.total()}{ways}; goal 0: {_met(not back)}",
            f"honest class-adding updates promoted: {sum(adds)} of {len(adds)} ({share:.1%}); goal 95 %: "
            f"{_met(share >= 0.95)}",
            f"honest refreshes promoted: {sum(refreshes)} of {len(refreshes)}",
            f"wrong rows learned with an update that was promoted: {_own(runs)}",
            *_control(runs),
        ]
    )


def _control(runs: Sequence[Run]) -> list[str]:
    """What the attacks do where nothing is asked."""
    attacks = [result for run in runs for result in run.peers.get("no gate", []) if not result.honest]
    if not attacks:
        return []
    harmless = dict.fromkeys(result.kind for result in attacks)
    for result in attacks:
        if result.harmful:
            harmless.pop(result.kind, None)
    found = f"{sum(result.harmful for result in attacks)} of {len(attacks)}"
    return [f"attacks that do harm with no gate: {found}; never: {', '.join(harmless) or 'none'}"]


def come_backs(runs: Sequence[Run]) -> str:
    """A line a sending whose poison came back: which attack, and by which way."""
    rows = [
        [str(run.seed), result.kind, ", ".join(f"{count} {way}" for way, count in trace.back.most_common())]
        for run in runs
        for result, trace in zip(run.results, run.traces, strict=True)
        if trace.back
    ]
    return table(["seed", "poison of", "came back as"], rows) + "\n" if rows else ""


def _honest(results: Sequence[Result], what: Honest) -> list[bool]:
    return [result.promoted for result in results if result.honest == what]


def _own(runs: Sequence[Run]) -> str:
    pairs = [pair for run in runs for pair in zip(run.results, run.traces, strict=True) if pair[1].own]
    rows = sum(trace.own.total() for _, trace in pairs)
    return f"{rows}, by {len(pairs)} attacks, {sum(result.harmful for result, _ in pairs)} of them harmful"


def _met(found: bool) -> str:
    return "met" if found else "MISSED"


def descriptions(kinds: Sequence[Kind]) -> str:
    return table(["attack", "what it is, and which rows are poison"], [[kind.name, kind.about] for kind in kinds])


def reasons(run: Run) -> str:
    """Every reply of one life, in order."""
    lines = []
    for place, (result, trace) in enumerate(zip(run.results, run.traces, strict=True)):
        worst = max(result.falls, key=lambda fall: fall.overall)
        domain = max(fall.domain for fall in result.falls)
        last = result.replies[-1]
        lines.append(
            f"{place:3} {result.kind} ({result.rows} rows): {_verdicts([result])}; "
            f"{'HARMFUL, ' if result.harmful else ''}fall {worst.overall:+.2f} / {domain:+.2f}, "
            f"now {result.accuracy:.4f}; "
            f"own {dict(trace.own)}, back {dict(trace.back)}, waiting {trace.waiting}; {last.reason}"
        )
    return "\n".join(lines)
