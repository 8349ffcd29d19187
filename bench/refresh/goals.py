"""What this run should show, and what it shows: each goal as a ratio within the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.refresh.results import Report, Result
from bench.refresh.roster import AT_ONCE, JOINT, JOINT_LORA, REACH

LADDER, CLOSED_FORM = "ladder", "head@ridge"


@dataclass(frozen=True, slots=True)
class Goal:
    """A claim, the figure that was found, and the bound that it has to keep; ``found`` is None where nothing ran."""

    claim: str
    found: float | None
    bound: float
    at_least: bool = False
    why_not: str = ""

    def line(self) -> str:
        """Met or missed, and by how much."""
        if self.found is None:
            return f"unknown  {self.claim}: {self.why_not}"
        gap = self.found - self.bound if self.at_least else self.bound - self.found
        verdict = "met   " if gap >= 0 else "MISSED"
        sign = ">=" if self.at_least else "<="
        return f"{verdict}   {self.claim}: {self.found:.4g} {sign} {self.bound:.4g}, by {abs(gap):.3g}"


def goals(report: Report) -> list[Goal]:
    """All of them, also those that nothing was run for."""
    ladder, head = _ran(report, LADDER), _ran(report, CLOSED_FORM)
    joint = reference(report, JOINT)
    return [
        *_accuracy(ladder, joint),
        *_cost(ladder, joint),
        *_closed_form(head),
        *_at_once(report, joint),
        Goal(
            "share of the loop that is not forward, backward and step, at batch 32",
            report.overhead.share if report.overhead else None,
            0.05,
            why_not="loop overhead was not run",
        ),
    ]


def reference(report: Report, names: Sequence[str]) -> Result | None:
    """Of joint training with some learning rates, the one that is best on the validation rows."""
    ran = [result for name in names if (result := _ran(report, name))]
    return max(ran, key=lambda result: result.val or 0.0) if ran else None


def reached(points: Sequence[Result]) -> float | None:
    """The least CPU seconds after which one of the learners was at the accuracy to reach; None if none was."""
    times = [point.cpu_seconds for result in points for point in result.points if point.accuracy >= REACH]
    return min(times, default=None)


def retraining_seconds(joint: Result, stages: Result) -> float:
    """Joint training on all rows so far after every stage, estimated from the one run by the number of rows."""
    learned = [stage.learned for stage in stages.stages]
    rows_trained = sum(sum(learned[: number + 1]) for number in range(len(learned)))
    return joint.cpu_seconds * rows_trained / sum(learned)


def _ran(report: Report, name: str) -> Result | None:
    result = report.results.get(name)
    return None if result is None or result.problem else result


def _accuracy(ladder: Result | None, joint: Result | None) -> list[Goal]:
    if ladder is None or joint is None or ladder.accuracy is None or joint.accuracy is None:
        return [Goal("the ladder's accuracy at the end beside joint training", None, 0.0, why_not=_lacking(ladder))]
    gap = 100 * (ladder.accuracy - joint.accuracy)
    name = f"({100 * ladder.accuracy:.2f} beside {100 * joint.accuracy:.2f} of {joint.name})"
    return [
        Goal(f"the ladder's accuracy at the end less that of joint training, points {name}", gap, -0.5, at_least=True),
        Goal("the same, stretch", gap, 0.0, at_least=True),
        Goal("the ladder's accuracy at the end, stretch", ladder.accuracy, 0.96, at_least=True),
    ]


def _cost(ladder: Result | None, joint: Result | None) -> list[Goal]:
    if ladder is None or joint is None:
        return [Goal("CPU-s of all stages beside joint training", None, 1 / 3, why_not=_lacking(ladder))]
    again = retraining_seconds(joint, ladder)
    return [
        Goal("CPU-s of all the ladder's stages over ONE joint training", ladder.cpu_seconds / joint.cpu_seconds, 1 / 3),
        Goal(
            f"the same over joint training at every stage ({again:.0f} CPU-s, estimated from the one run by rows)",
            ladder.cpu_seconds / again,
            1 / 25,
        ),
    ]


def _closed_form(head: Result | None) -> list[Goal]:
    if head is None or len(head.stages) < 2:
        return [Goal("a closed-form stage in forward passes", None, 1.5, why_not=f"{CLOSED_FORM} was not run")]
    later = head.stages[1:]
    passes = [stage.cpu_seconds / stage.forward_seconds for stage in later]
    return [
        Goal(
            "a closed-form stage after the first, in forward passes over its rows, mean", sum(passes) / len(passes), 1.5
        ),
        Goal("the same, the dearest stage", max(passes), 1.5),
        Goal("the last closed-form stage over the second, CPU-s", later[-1].cpu_seconds / later[0].cpu_seconds, 1.2),
    ]


def _at_once(report: Report, joint: Result | None) -> list[Goal]:
    """A line for each selection: the best of them, found on the test rows, would be compared with one chosen rate."""
    peers = (("joint full fine-tuning", joint, 1 / 4), ("joint LoRA", reference(report, JOINT_LORA), 1 / 2.5))
    found = []
    for selection in AT_ONCE:
        result = _ran(report, f"at once {selection}")
        ours = reached([result]) if result else None
        for what, peer, bound in peers:
            claim = f"all classes at once, CPU-s of {selection} to {REACH} over those of {what}"
            theirs = reached([peer]) if peer else None
            why_not = f"{selection if ours is None else what} did not reach it, or was not run"
            found.append(Goal(claim, ours / theirs if ours and theirs else None, bound, why_not=why_not))
    return found


def _lacking(ladder: Result | None) -> str:
    return f"{LADDER if ladder is None else 'joint full fine-tuning'} was not run"
