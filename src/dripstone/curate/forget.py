"""Forgetting: a row's weight in the closed form halves with every so many rows that are learned after it.

The sums of the closed form count a row of long ago as much as one of today, which is right as long as the world stays
as it is. Where it drifts, old rows hold the head back. Here all sums are multiplied by one factor whenever rows are
added: a weighted regression with exponentially falling weights, exact as before, at no cost.

Rows that are to be forgotten must not hold the next version back either: the gate trusts as many held-out rows as two
half-lives bring.

References
----------
Haykin, "Adaptive Filter Theory", chapter on recursive least squares (the exponential weighting factor).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

HORIZON = 2
"""Half-lives whose held-out rows the gate trusts; what is older weighs less than a quarter."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The policy ``forget:N``: the weight of a row halves with every N rows that are learned after it.

    Examples
    --------
    >>> forget = Forget.parse(["1000"])
    >>> forget, str(forget), forget.fade(2000)
    (Forget(half_life=1000), 'forget:1000', 0.25)
    >>> Forget.parse(["0"]), Forget.parse([])
    (None, None)
    """

    FORMS: ClassVar[tuple[str, ...]] = ("forget:N",)

    half_life: int

    @classmethod
    def parse(cls, words: Sequence[str]) -> Forget | None:
        """The policy from the words after its name; None if they mean nothing."""
        readable = len(words) == 1 and re.fullmatch(r"[0-9]{1,9}", words[0])
        return cls(int(words[0])) if readable and int(words[0]) > 0 else None

    def __str__(self) -> str:
        return f"forget:{self.half_life}"

    def fade(self, rows: int) -> float:
        """What a row's weight is multiplied by once so many rows were learned after it, in [0, 1]."""
        return 0.5 ** (rows / self.half_life)

    def trusted(self, share: float) -> int:
        """How many held-out rows the gate trusts, where this share of all rows is held out.

        Examples
        --------
        >>> Forget(1000).trusted(0.2)
        500
        """
        return max(1, math.ceil(HORIZON * self.half_life * share / (1 - share)))
