"""Drift of the inputs, without labels: do the new rows look different from the ones before?

Look k of a store's life is tested at alpha/(k(k+1)), and all levels sum to alpha: P(any false alarm in a life) <=
alpha, however the looks depend on one another. They do, since they share the reference, and that is also why evidence
is not multiplied from look to look: a reference of a thousand rows is never quite like its source, every look sees the
same chance difference, and bets on it would win in the end. Each look alone is exact, for a reference drawn once as for
one that changes with the rows that come in.

An alarm suggests and promotes nothing. After one, a reference that begins anew with the new rows keeps the old
difference from raising an alarm at every look; the count of looks goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dripstone.core.records import count
from dripstone.curate.two_sample import LOOK, smallest_p, two_sample_p


@dataclass(frozen=True, slots=True)
class Drift:
    """The policy ``drift``: the new rows are compared with those before, and the live version's errors are watched.

    It also says that drift is expected: the gate then takes rows that are unlike the trusted ones for news
    (``gate/familiar.py``).

    Examples
    --------
    >>> Drift.parse([]), Drift.parse(["fast"])
    (Drift(), None)
    """

    FORMS: ClassVar[tuple[str, ...]] = ("drift",)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Drift | None:
        """The policy from the words after its name; None if they mean nothing."""
        return None if words else cls()

    def __str__(self) -> str:
        return "drift"


@dataclass(frozen=True, slots=True)
class InputDrift:
    """One look: the p-value against its level. ``level`` is the alpha that was spent, 0.0 where nothing was tested.

    ``reference`` and ``new`` count the rows that were looked at, ``looks`` the looks of the store's life so far.
    """

    alarm: bool
    p_value: float
    level: float
    reference: int
    new: int
    looks: int

    def __str__(self) -> str:
        rows = "the new row" if self.new == 1 else f"the {count(self.new, 'new row')}"
        before = f"the {self.reference:,} before"
        if self.alarm:
            return f"{rows} look different from {before} (p = {self.p_value:.1g})"
        if not self.level:
            return f"{count(self.new, 'new row')} and {self.reference:,} before are too few to tell apart"
        return f"nothing shows that {rows} look different from {before} (p = {self.p_value:.1g})"


def look_for_drift(
    reference: np.ndarray, new: np.ndarray, looks: int, alpha: float = 0.05, seed: int = 0
) -> InputDrift:
    """Compare new rows with earlier ones, spending alpha only where their numbers could raise an alarm.

    Parameters
    ----------
    reference : numpy.ndarray
        [m, d] float32, finite: features of a uniform sample of the rows before, made by the same model as those of
        ``new``. Features of rows that the model was tuned on are not like those of others: take rows that were held
        out, or features from below what was tuned.
    new : numpy.ndarray
        [n, d] float32, finite: features of the rows that came, all or those of `two_sample.rows_to_look_at`.
    looks : int
        How often a store has looked before: ``looks`` of its last `InputDrift`.
    alpha : float
        Chance of any false alarm in a store's life, if its rows are exchangeable.
    seed : int
        Together with ``looks`` it fixes all draws; not negative.

    Raises
    ------
    ValueError
        If the samples are not of one width, or hold NaN or infinity.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> before, same, moved = (draw.normal(mean, size=(400, 64)) for mean in (0, 0, 0.5))
    >>> first = look_for_drift(before, same, looks=0)
    >>> first.alarm, first.level, first.looks
    (False, 0.025, 1)
    >>> print(look_for_drift(before, moved[:20], looks=first.looks))
    the 20 new rows look different from the 400 before (p = ...)
    >>> print(look_for_drift(before, moved[:1], looks=first.looks))
    1 new row and 400 before are too few to tell apart
    """
    level = alpha / ((looks + 1) * (looks + 2))
    sizes = min(len(reference), LOOK), min(len(new), LOOK)
    if smallest_p(*sizes) > level:
        return InputDrift(False, 1.0, 0.0, *sizes, looks)
    p_value = two_sample_p(reference, new, _seed(seed, looks))
    return InputDrift(p_value <= level, p_value, level, *sizes, looks + 1)


def _seed(seed: int, looks: int) -> int:
    """Another draw at every look."""
    return int(np.random.SeedSequence((seed, looks)).generate_state(1)[0])
