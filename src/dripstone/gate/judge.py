"""The verdict: refused, promoted or undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from dripstone.core.config import GateConfig
from dripstone.core.records import Evidence, Flips, HarmTest, Metrics, MetricsPair, Verdict
from dripstone.gate import reasons
from dripstone.gate.anchor import is_new_best
from dripstone.gate.answers import Answers, Marks
from dripstone.gate.evidence import gain_evidence
from dripstone.gate.harm import Comparison, find_harm
from dripstone.gate.limits import calibration_error, count_changes, count_flips, exceeded
from dripstone.gate.metrics import TOKEN_LOSS
from dripstone.gate.slices import slice_means

LARGEST_LOSS = 87.0
"""Nats a token, beyond which a probability has no float32, and a perplexity says nothing."""

LITTLE = 0.1
"""Share of the tolerated loss by which a candidate may lag on trusted rows where many fresh ones show no loss: the
champion was chosen by these rows."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that was measured on the way.

    ``gain`` is the mean on fresh and trusted rows together, None where there are none; ``new_best`` says that the
    candidate becomes the anchor.
    """

    verdict: Verdict
    reason: str
    evidence: Evidence
    harm: HarmTest
    flips: Flips
    metrics: MetricsPair
    intrusion: float
    gain: float | None
    new_best: bool


def judge(
    answers: Answers,
    fresh: int,
    *,
    tested: int,
    config: GateConfig,
    metric: str = "accuracy",
    latency_ms: tuple[float, float] | None = None,
    contested: bool = False,
    drifting: bool = False,
) -> Judgement:
    """Decide whether the candidate may replace the champion.

    Parameters
    ----------
    answers : Answers
        On fresh rows, which no earlier decision has used, in the order in which they came; then on trusted ones, held
        out of promoted updates.
    fresh : int
        How many rows are fresh.
    tested : int
        How many candidates were put to the test of gain before.
    config : GateConfig
        Mode, alpha, margin, minimum of rows, limits.
    metric : str
        ``"accuracy"``, ``"log_loss"``, ``"squared_error"`` or ``"token_loss"``.
    latency_ms : tuple of float, optional
        Milliseconds that a row takes the champion and the candidate, where a limit asks for it.
    contested : bool
        Whether the batch's labels contradict the champion beyond chance. What is learned from them has to prove its
        gain, also in mode steady: no loss measured says little where the loss may sit in a few classes.
    drifting : bool
        Whether drift is expected. In mode steady a gain on the fresh rows is enough then: they are what the version
        will meet, and the trusted ones, what it must do no harm to, are of the past. Who leads on fresh rows alone is
        the best version so far, too.

    Raises
    ------
    ModelError
        If a probability is none.

    Examples
    --------
    >>> from dripstone.gate.answers import Rival
    >>> rows = np.ones(60, bool)
    >>> right, wrong = (Marks(found, found.astype(float)) for found in (rows, ~rows))
    >>> answers = Answers(right, right.probability, ~rows, Rival(wrong, right, rows), None, [])
    >>> judgement = judge(answers, fresh=60, tested=0, config=GateConfig())
    >>> judgement.verdict, judgement.reason.partition(":")[0]
    ('promoted', 'gain proven')
    """
    rows = np.arange(len(answers))
    news, trusted = answers.select(rows[:fresh]), answers.select(rows[fresh:])
    harm = _harm(trusted, config, metric)
    flips = _flips(answers, metric)
    metrics = _metrics(answers, news, metric, latency_ms)
    broken = exceeded(config.limits, flips, metrics)
    evidence = gain_evidence(news.gains(metric), config.alpha, tested, config.holdout, news.weights)
    if config.mode == "off" or harm_is_shown(harm) or broken:
        # What this test cannot decide is not put to it, so that alpha is whole for the next candidate.
        evidence = msgspec.structs.replace(evidence, alpha_spent=0.0, gain_at_least=0.0)
    gain = answers.mean(answers.gains(metric))
    counting = answers.counting()
    steady = config.mode == "steady" and counting >= config.minimum and not contested
    no_loss = _no_loss(answers, news, trusted, config, metric, drifting=drifting) if steady else None
    verdict, reason = _decide(evidence, harm, broken, len(trusted), no_loss, config)
    if verdict == "undecided" and broken:
        evidence = msgspec.structs.replace(evidence, rows_needed=None)  # rows do not mend what a limit holds back
    elif verdict == "undecided":
        evidence = _with_missing(evidence, counting, config)
        reason = reasons.undecided(counting, gain, evidence, config, contested=contested)
    return Judgement(
        verdict=verdict,
        reason=reason,
        evidence=evidence,
        harm=harm,
        flips=flips,
        metrics=metrics,
        gain=gain,
        intrusion=float(trusted.intruding.mean()) if len(trusted) else 0.0,
        new_best=verdict == "promoted" and (_is_best(answers, metric) or (drifting and _is_best(news, metric))),
    )


def harm_is_shown(harm: HarmTest) -> bool:
    """Whether the evidence of harm reaches its bar."""
    return harm.rows > 0 and harm.wealth >= harm.bar


def _harm(trusted: Answers, config: GateConfig, metric: str) -> HarmTest:
    comparisons = []
    for against, rival in (("champion", trusted.champion), ("anchor", trusted.anchor)):
        if rival is not None:
            rows = np.flatnonzero(rival.known)
            weights = None if trusted.weights is None else trusted.weights[rows]
            partitions = [parted.select(rows) for parted in trusted.partitions]
            comparisons.append(Comparison(against, rival.gains(metric), weights, partitions))
    return find_harm(comparisons, config.margin, config.alpha)


def _decide(
    evidence: Evidence,
    harm: HarmTest,
    broken: list[str],
    trusted: int,
    no_loss: str | None,
    config: GateConfig,
) -> tuple[Verdict, str]:
    if config.mode == "off":
        return "promoted", "the gate is off: nothing was asked"
    if harm_is_shown(harm):
        return "refused", reasons.harm(harm, config.margin)
    if broken:
        return "undecided", f"{'; '.join(broken)}; the rows wait"
    if evidence.alpha_spent and evidence.wealth >= evidence.threshold:
        return "promoted", reasons.proof(evidence, trusted)
    if no_loss:
        return "promoted", no_loss
    return "undecided", ""


def _no_loss(
    answers: Answers, news: Answers, trusted: Answers, config: GateConfig, metric: str, *, drifting: bool
) -> str | None:
    """The reason to promote without proof; None where a loss was measured, or nothing.

    Fresh and trusted rows together have to show none; or fresh ones alone, where drift is expected, or where they are
    many and trusted ones, on which the champion looks better than it is, show next to none.
    """
    gain, lately = (found.mean(found.gains(metric)) for found in (answers, news))
    if gain is not None and gain >= 0:
        return reasons.no_loss(_flips(answers, metric), len(trusted))
    if lately is None or lately < 0:
        return None
    before = trusted.mean(trusted.gains(metric)) or 0.0
    enough = news.counting() >= config.minimum and before >= -LITTLE * config.margin
    if enough or (drifting and lately > 0):
        return reasons.no_loss(_flips(news, metric), len(trusted), lately=True)
    return None


def _flips(answers: Answers, metric: str) -> Flips:
    if metric == TOKEN_LOSS:
        return count_changes(answers.gains(metric))
    return count_flips(answers.champion.marks.right, answers.candidate.right)


def _with_missing(evidence: Evidence, counting: int, config: GateConfig) -> Evidence:
    """Below the minimum of rows, what is missing to it decides first."""
    if config.mode != "steady" or counting >= config.minimum:
        return evidence
    return msgspec.structs.replace(evidence, rows_needed=math.ceil((config.minimum - counting) / config.holdout))


def _is_best(answers: Answers, metric: str) -> bool:
    best = answers.best
    gains = answers.candidate.gains(best.marks, metric)
    known = answers.select(np.flatnonzero(best.known))
    return is_new_best(gains, known.mean(best.gains(metric)), answers.weights)


def _metrics(answers: Answers, fresh: Answers, metric: str, latency_ms: tuple[float, float] | None) -> MetricsPair:
    old, new = latency_ms or (None, None)
    measure = _measure_texts if metric == TOKEN_LOSS else _measure
    champion = measure(answers, answers.champion.marks, fresh, fresh.champion.marks)
    candidate = measure(answers, answers.candidate, fresh, fresh.candidate)
    score = (answers.mean(marks.scores(metric)) for marks in (answers.champion.marks, answers.candidate))
    error = None if metric == TOKEN_LOSS else calibration_error(answers.confidence, answers.candidate.right)
    return MetricsPair(
        champion=msgspec.structs.replace(champion, score=next(score), latency_ms=old),
        candidate=msgspec.structs.replace(candidate, score=next(score), latency_ms=new, calibration_error=error),
    )


def _measure(answers: Answers, marks: Marks, fresh: Answers, fresh_marks: Marks) -> Metrics:
    return Metrics(
        accuracy=answers.mean(marks.right),
        by_slice=slice_means(marks.right, answers.weights, answers.partitions),
        fresh_accuracy=fresh.mean(fresh_marks.right),
    )


def _measure_texts(answers: Answers, marks: Marks, fresh: Answers, fresh_marks: Marks) -> Metrics:
    """Perplexities, each text counting the same; None for a version that gives no probabilities."""
    by_slice = slice_means(_losses(marks), answers.weights, answers.partitions)
    return Metrics(
        perplexity=_perplexity(answers.mean(_losses(marks))),
        fresh_perplexity=_perplexity(fresh.mean(_losses(fresh_marks))),
        by_slice={name: found for name, loss in by_slice.items() if (found := _perplexity(loss)) is not None},
    )


def _losses(marks: Marks) -> np.ndarray:
    return -np.log(np.maximum(marks.probability.astype(np.float64), math.exp(-LARGEST_LOSS)))


def _perplexity(loss: float | None) -> float | None:
    return math.exp(loss) if loss is not None and loss < LARGEST_LOSS - 1 else None
