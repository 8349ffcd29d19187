"""The verdict: refused, promoted, undecided, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from dripstone.core.config import GateConfig
from dripstone.core.records import Evidence, Metrics, MetricsPair, Verdict, count
from dripstone.gate.evidence import gain_evidence
from dripstone.gate.sense import Sense
from dripstone.gate.slices import OVERALL, Harm, find_harm, slice_members


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What both contestants answer on some held-out rows.

    ``targets``, ``champion`` and ``candidate`` are class indices [rows]; -1 for a label or an answer that does not
    exist. ``restricted`` is the candidate's best answer among the labels that the champion knows. ``labels`` and
    ``slices`` name each row's class and slice.
    """

    targets: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray
    restricted: np.ndarray
    labels: Sequence[str]
    slices: Sequence[str | None]

    @property
    def champion_right(self) -> np.ndarray:
        return (self.champion == self.targets) & (self.targets >= 0)

    @property
    def candidate_right(self) -> np.ndarray:
        return (self.candidate == self.targets) & (self.targets >= 0)

    @property
    def restricted_right(self) -> np.ndarray:
        return (self.restricted == self.targets) & (self.targets >= 0)

    def select(self, rows: np.ndarray) -> Answers:
        """The answers on some rows."""
        return Answers(
            self.targets[rows],
            self.champion[rows],
            self.candidate[rows],
            self.restricted[rows],
            [self.labels[row] for row in rows],
            [self.slices[row] for row in rows],
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that was measured on the way."""

    verdict: Verdict
    reason: str
    evidence: Evidence
    metrics: MetricsPair
    intrusion: float


def judge(fresh: Answers, trusted: Answers, *, known: int, tested: int, config: GateConfig) -> Judgement:
    """Decide whether the candidate may replace the champion.

    Parameters
    ----------
    fresh : Answers
        On held-out rows that no earlier decision has used.
    trusted : Answers
        On held-out rows of promoted updates.
    known : int
        How many labels the champion knows.
    tested : int
        How many candidates were put to the test of gain before.
    config : GateConfig
        Mode, alpha, margin and minimum of rows.

    Examples
    --------
    >>> none = Answers(*[np.empty(0, dtype=np.int64)] * 4, [], [])
    >>> zeros, ones = np.zeros(60, dtype=np.int64), np.ones(60, dtype=np.int64)
    >>> better = Answers(ones, zeros, ones, ones, ["yes"] * 60, [None] * 60)
    >>> judgement = judge(better, none, known=2, tested=0, config=GateConfig())
    >>> judgement.verdict, judgement.reason.partition(":")[0]
    ('promoted', 'gain proven')
    """
    differences = fresh.candidate_right.astype(np.int64) - fresh.champion_right.astype(np.int64)
    evidence = gain_evidence(differences, config.alpha, tested, config.holdout)
    if config.mode == "off":
        # What cannot be refused is not put to the test: the first real candidate finds alpha whole.
        evidence = msgspec.structs.replace(evidence, alpha_spent=0.0)
    harm = _harm(trusted, known, config)
    verdict, reason = _decide(fresh, trusted, evidence, harm, config)
    if verdict == "undecided" and config.mode == "steady" and (missing := _missing_rows(fresh, trusted, config)):
        evidence = msgspec.structs.replace(evidence, rows_needed=missing)
    intrusion = float((trusted.candidate >= known).mean()) if len(trusted.targets) else 0.0
    return Judgement(verdict, reason, evidence, _metrics(fresh, trusted), intrusion)


def nonsense(sense: Sense) -> str:
    """The reason of a batch that was refused before any training."""
    return (
        f"the batch's labels agree with the live version on {sense.agreement:.0%} of {sense.rows} rows of known "
        f"labels, against {sense.trusted:.0%} on trusted rows; its rows are quarantined "
        "('dripstone data admit' if the world has changed)"
    )


def _harm(trusted: Answers, known: int, config: GateConfig) -> Harm | None:
    comparable = trusted.select(np.flatnonzero((trusted.targets >= 0) & (trusted.targets < known)))
    members = slice_members(comparable.labels, comparable.slices)
    return find_harm(comparable.restricted_right, comparable.champion_right, members, config.margin, config.alpha)


def _decide(
    fresh: Answers, trusted: Answers, evidence: Evidence, harm: Harm | None, config: GateConfig
) -> tuple[Verdict, str]:
    rows = len(fresh.targets) + len(trusted.targets)
    if config.mode == "off":
        return "promoted", "the gate is off: nothing was asked"
    if harm is not None:
        return "refused", _harm_reason(harm, config)
    if evidence.alpha_spent and evidence.wealth >= evidence.threshold:
        return "promoted", (
            f"gain proven: {evidence.discordant} of {evidence.rows} fresh rows changed, evidence "
            f"{_number(evidence.wealth)} against a bar of {_number(evidence.threshold)}; {_no_harm(trusted)}"
        )
    gain = _estimated_gain(fresh, trusted)
    if config.mode == "steady" and rows >= config.minimum and gain >= 0:
        return "promoted", (
            f"no loss measured: {_no_harm(trusted)}, estimated gain {gain * 100:+.2f} points on "
            f"{count(rows, 'held-out row')}; not proven"
        )
    return "undecided", _undecided_reason(rows, gain, evidence, config)


def _harm_reason(harm: Harm, config: GateConfig) -> str:
    where = "trusted rows" if harm.slice == OVERALL else f"trusted rows of {harm.slice}"
    points = f"{config.margin * 100:g} point{'' if config.margin == 0.01 else 's'}"
    return (
        f"of {harm.rows} {where}, {harm.worse} got worse and {harm.better} better; a loss above {points} is shown "
        f"({_number(harm.wealth)} against a bar of {_number(harm.bar)})"
    )


def _no_harm(trusted: Answers) -> str:
    return f"no harm shown on {len(trusted.targets)} trusted rows" if len(trusted.targets) else "no trusted rows yet"


def _undecided_reason(rows: int, gain: float, evidence: Evidence, config: GateConfig) -> str:
    if config.mode == "steady" and rows < config.minimum:
        return (
            f"{count(rows, 'held-out row')} of the {config.minimum} that a decision takes; about "
            f"{_labelled(config.minimum - rows, config)} more labelled rows"
        )
    if rows == 0:
        return "there are no held-out rows to judge by yet; send more labelled rows"
    start = f"estimated gain {gain * 100:+.2f} points on {count(rows, 'held-out row')}, not proven"
    if evidence.rows == 0:
        return f"{start}; none of them is fresh, and only fresh ones prove a gain: send more labelled rows"
    if evidence.rows_needed is None:
        return f"{start}; no number of rows like these would prove it, rows of another kind may"
    return f"{start}; about {evidence.rows_needed} more labelled rows would decide"


def _missing_rows(fresh: Answers, trusted: Answers, config: GateConfig) -> int:
    """Labelled rows until there are as many held-out ones as a decision takes."""
    return _labelled(max(config.minimum - len(fresh.targets) - len(trusted.targets), 0), config)


def _labelled(held_out: int, config: GateConfig) -> int:
    return math.ceil(held_out / config.holdout)


def _estimated_gain(fresh: Answers, trusted: Answers) -> float:
    rows = len(fresh.targets) + len(trusted.targets)
    if rows == 0:
        return 0.0
    right = fresh.candidate_right.sum() + trusted.candidate_right.sum()
    return float(right - fresh.champion_right.sum() - trusted.champion_right.sum()) / rows


def _metrics(fresh: Answers, trusted: Answers) -> MetricsPair:
    members = slice_members([*fresh.labels, *trusted.labels], [*fresh.slices, *trusted.slices])
    champion = np.concatenate([fresh.champion_right, trusted.champion_right])
    candidate = np.concatenate([fresh.candidate_right, trusted.candidate_right])
    return MetricsPair(champion=accuracy(champion, members), candidate=accuracy(candidate, members))


def accuracy(right: np.ndarray, members: dict[str, np.ndarray]) -> Metrics:
    """Share of right answers, overall and by slice."""
    if len(right) == 0:
        return Metrics()
    return Metrics(
        accuracy=float(right.mean()), by_slice={name: float(right[rows].mean()) for name, rows in members.items()}
    )


def _number(value: float) -> str:
    return f"{value:.1e}" if value >= 1e5 else f"{value:.0f}"
