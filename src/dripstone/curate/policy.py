"""The text form of a curation policy: ``screen+replay:2000``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dripstone.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Policy:
    """What curation does: ``replay`` is how many trained rows are remembered for the loop, 0 for none.

    Examples
    --------
    >>> parse_policy("screen+replay:500")
    Policy(replay=500)
    """

    replay: int


def parse_policy(text: str) -> Policy:
    """Read policies joined by ``+``. ``screen`` must come first: nothing trains on rows that were not screened.

    Raises
    ------
    UsageError
        If a policy is not known or named twice, or screening does not come first.
    """
    names = [part.strip() for part in text.split("+")]
    if names[0] != "screen":
        raise UsageError(f"curation {text!r} does not start with screen", remedy="write screen+replay:2000")
    if len(names) == 1:
        return Policy(replay=0)
    if len(names) > 2:
        raise UsageError(f"curation {text!r} names too many policies", remedy="write screen+replay:2000")
    replay = re.fullmatch(r"replay:([0-9]{1,9})", names[1])
    if replay is None:
        raise UsageError(f"there is no curation policy {names[1]!r}", remedy="use screen or replay:N")
    return Policy(int(replay[1]))
