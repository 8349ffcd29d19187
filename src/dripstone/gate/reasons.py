"""Reasons, as sentences a person can act on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dripstone.core.config import GateConfig
from dripstone.core.records import Evidence, Flips, HarmTest, count
from dripstone.gate.harm import OVERALL
from dripstone.gate.sense import Sense

ADMIT = "'dripstone data admit' if the world has changed"


def harm(found: HarmTest, margin: float) -> str:
    """Why a candidate was refused.

    Examples
    --------
    >>> print(harm(HarmTest("class refund", "champion", rows=412, worse=31, better=4, wealth=212.3, bar=40.0), 0.01))
    of 412 trusted rows of class refund, 31 got worse and 4 better; a loss above 1 point is shown
    (212 against a bar of 40)
    """
    where = "trusted rows" if found.slice == OVERALL else f"trusted rows of {found.slice}"
    than = " than with the best version so far" if found.against == "anchor" else ""
    points = f"{margin * 100:g} point{'' if margin == 0.01 else 's'}"
    return (
        f"of {found.rows} {where}, {found.worse} got worse{than} and {found.better} better; a loss above {points} "
        f"is shown ({number(found.wealth)} against a bar of {number(found.bar)})"
    )


def proof(evidence: Evidence, trusted: int) -> str:
    """Why a candidate was promoted by proof.

    Examples
    --------
    >>> print(proof(Evidence(wealth=86.0, threshold=40.0, wins=30, losses=10, rows=400, gain_at_least=0.012), 0))
    gain proven: of 400 fresh rows, 30 got better and 10 worse, at least +1.2 points (86 against a bar of 40);
    no trusted rows yet
    """
    return (
        f"gain proven: of {evidence.rows} fresh rows, {evidence.wins} got better and {evidence.losses} worse, "
        f"at least {evidence.gain_at_least * 100:+.1f} points ({number(evidence.wealth)} against a bar of "
        f"{number(evidence.threshold)}); {_no_harm(trusted)}"
    )


def no_loss(flips: Flips, trusted: int, *, lately: bool = False) -> str:
    """Why a candidate was promoted without proof; ``lately`` by fresh rows alone.

    Examples
    --------
    >>> print(no_loss(Flips(negative=3, positive=4, rows=300), trusted=200))
    no loss measured: of 300 held-out rows, 4 got better and 3 worse; no harm shown on 200 trusted rows;
    a gain is not proven
    """
    measured, kind = ("no loss measured lately", "fresh row") if lately else ("no loss measured", "held-out row")
    return (
        f"{measured}: of {count(flips.rows, kind)}, {flips.positive} got better and {flips.negative} "
        f"worse; {_no_harm(trusted)}; a gain is not proven"
    )


def undecided(rows: int, gain: float | None, evidence: Evidence, config: GateConfig, *, contested: bool = False) -> str:
    """Why nothing is decided yet, and what would decide it."""
    needed = evidence.rows_needed
    if config.mode == "steady" and rows < config.minimum:
        found = f"{count(rows, 'held-out row')} of the {config.minimum} that a decision takes"
        return f"{found}; about {needed} more labelled rows"
    if gain is None:
        return "there are no held-out rows to judge by yet; send more labelled rows"
    start = f"estimated gain {gain * 100:+.2f} points on {count(rows, 'held-out row')}, not proven"
    if contested:
        start += ", which takes a proof where labels contradict the live version beyond chance"
    if evidence.rows == 0:
        return f"{start}; none of them is fresh, and only fresh ones prove a gain: send more labelled rows"
    if needed is None:
        return f"{start}; no number of rows like these would prove it, rows of another kind may"
    return f"{start}; about {needed} more labelled rows would decide"


def nonsense(sense: Sense) -> str:
    """The reason of a batch that was refused before any training."""
    return (
        f"the batch's labels agree with the live version on {sense.agreement:.0%} of {sense.rows} rows of known "
        f"labels, against {sense.trusted:.0%} on trusted rows; its rows are quarantined ({ADMIT})"
    )


def class_nonsense(label: object, sense: Sense) -> str:
    """The reason why the rows of one label were set aside.

    Examples
    --------
    >>> print(class_nonsense("refund", Sense(40, 0.05, 0.9, sound=False)))
    the rows labelled refund agree with the live version on 5% of 40, against 90% on trusted rows of the label;
    they are quarantined ('dripstone data admit' if the world has changed)
    """
    return (
        f"the rows labelled {label} agree with the live version on {sense.agreement:.0%} of {sense.rows}, "
        f"against {sense.trusted:.0%} on trusted rows of the label; they are quarantined ({ADMIT})"
    )


def doubt(trusted_agrees: np.ndarray) -> str:
    """The reason of rows that came a few at a time and contradict together."""
    return (
        "row after row of the last updates contradicts the live version, which is right on "
        f"{trusted_agrees.mean():.0%} of the trusted rows; the new ones are quarantined ({ADMIT})"
    )


def disputed(agrees: np.ndarray, *, beyond_chance: bool) -> str:
    """The reason of rows that contradict the live version in a batch that does not show that they are right.

    Examples
    --------
    >>> print(disputed(np.arange(300) < 262, beyond_chance=True))
    rows that contradict the live version: 38 of 300, more than its errors on trusted rows explain; these and the
    batch's held-out rows are quarantined ('dripstone data admit' if the world has changed)
    """
    why = "more than its errors on trusted rows explain" if beyond_chance else "as wrong labels would"
    return (
        f"rows that contradict the live version: {int((~agrees).sum())} of {len(agrees)}, {why}; these and the "
        f"batch's held-out rows are quarantined ({ADMIT})"
    )


def too_heavy(rows: int) -> str:
    """The reason of rows whose weight is beyond what the gate can weigh, in a batch that measured no gain.

    Examples
    --------
    >>> too_heavy(3)
    '3 rows weigh more than four times the middle trusted row: they are quarantined'
    """
    return f"{count(rows, 'row')} weigh more than four times the middle trusted row: they are quarantined"


def unlearned(label: object) -> str:
    """The reason why a new label was set aside: it did not stick."""
    return f"the new label {label} was not learned on half of its held-out rows; its rows are quarantined"


def strange(before: np.ndarray, after: np.ndarray) -> str:
    """The reason why rows unlike the trusted ones were set aside: they taught nothing.

    Examples
    --------
    >>> print(strange(np.arange(40) < 4, np.arange(40) < 5))
    rows unlike all that the live version was tried on taught nothing: of 40 held-out ones, 5 are right where 4 were;
    they are quarantined ('dripstone data admit' if the world has changed)
    """
    return (
        f"rows unlike all that the live version was tried on taught nothing: of {count(len(before), 'held-out one')}, "
        f"{int(after.sum())} are right where {int(before.sum())} were; they are quarantined ({ADMIT})"
    )


def theft(label: object, old: object | None, taken: int, rows: int) -> str:
    """The reason why a new label was set aside: it takes from old ones.

    Examples
    --------
    >>> print(theft("money back", "refund", taken=20, rows=41))
    the new label money back takes 20 of 41 right answers of class refund; its rows are quarantined
    ('dripstone data admit' if the world has changed)
    """
    whose = "all classes" if old is None else f"class {old}"
    return f"the new label {label} takes {taken} of {rows} right answers of {whose}; its rows are quarantined ({ADMIT})"


def nothing_left(why: Sequence[str]) -> str:
    """The reason of an update whose rows were all set aside.

    Examples
    --------
    >>> nothing_left(["a; b", "c"])
    'every row was set aside: a; b; c'
    """
    return f"every row was set aside: {'; '.join(dict.fromkeys(why))}"


def _no_harm(trusted: int) -> str:
    return f"no harm shown on {count(trusted, 'trusted row')}" if trusted else "no trusted rows yet"


def number(value: float) -> str:
    """A wealth or a bar, in as many digits as matter.

    Examples
    --------
    >>> number(212.3), number(1.5e9)
    ('212', '1.5e+09')
    """
    return f"{value:.1e}" if value >= 1e5 else f"{value:.0f}"
