"""The text form of a curation policy: ``screen+replay:2000``."""

from __future__ import annotations

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
        If a policy is not known, or screening is missing.
    """
    names = [part.strip() for part in text.split("+")]
    if names[0] != "screen":
        raise UsageError(f"curation {text!r} does not start with screen", remedy="write screen+replay:2000")
    replay = 0
    for name in names[1:]:
        kind, _, count = name.partition(":")
        if kind != "replay" or not (count.isascii() and count.isdigit()):
            raise UsageError(f"there is no curation policy {name!r}", remedy="use screen or replay:N")
        replay = int(count)
    return Policy(replay)
