"""The text form of a curation policy: ``screen+dedupe+noise+replay:2000``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dripstone.core.errors import UsageError
from dripstone.curate.augment import Augment
from dripstone.curate.dedupe import Dedupe
from dripstone.curate.drift import Drift
from dripstone.curate.forget import Forget
from dripstone.curate.noise import Noise
from dripstone.curate.prune import Prune
from dripstone.curate.replay import Replay
from dripstone.curate.screen import Screen
from dripstone.curate.weight import Weight

POLICIES: dict[str, Any] = {
    "screen": Screen,
    "dedupe": Dedupe,
    "drift": Drift,
    "noise": Noise,
    "weight": Weight,
    "prune": Prune,
    "augment": Augment,
    "forget": Forget,
    "replay": Replay,
}
"""By name: a frozen dataclass with ``parse``, which reads what follows the name, and ``FORMS``, how it is written."""


NO_REPLAY = Replay(0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What curation does; None for what it does not.

    ``rows`` are those of ``noise`` and ``weight`` that act, in the order in which they were written: each sees what the
    one before has left.

    Examples
    --------
    >>> policy = parse_policy("screen+noise+replay:500")
    >>> policy.replay, policy.noise, policy.dedupe
    (Replay(capacity=500, law='reservoir'), Noise(weigh=False), None)
    >>> str(policy)
    'screen+noise+replay:500'
    """

    text: str
    screen: Screen
    dedupe: Dedupe | None = None
    drift: Drift | None = None
    noise: Noise | None = None
    weight: Weight | None = None
    prune: Prune | None = None
    augment: Augment | None = None
    forget: Forget | None = None
    replay: Replay = NO_REPLAY

    def __str__(self) -> str:
        return self.text

    @property
    def rows(self) -> tuple[Noise | Weight, ...]:
        """The policies that act on rows whose features are known, in order."""
        names = [part.partition(":")[0] for part in self.text.split("+")]
        return tuple(getattr(self, name) for name in names if name in ("noise", "weight"))


def parse_policy(text: str) -> Policy:
    """Read policies joined by ``+``, each with what it takes after a colon.

    ``screen`` comes first: nothing is learned from rows that were not screened. Then duplicates are left out, before
    anything is computed of them; ``drift`` looks at the features; ``noise`` and ``weight`` act by them, in the order in
    which they are written; ``prune`` and ``augment`` act in the loop, ``forget`` in the closed form, and ``replay``
    remembers what was learned.

    Raises
    ------
    UsageError
        If a policy is not known, two of them exclude each other, or screening does not come first.
    """
    parts = [part.strip() for part in text.split("+")]
    if parts[0].partition(":")[0] != "screen":
        raise UsageError(f"curation {text!r} does not start with screen", remedy="write screen+replay:2000")
    found: dict[str, Any] = {}
    written: dict[str, str] = {}
    for part in parts:
        name, _, rest = part.partition(":")
        kind = POLICIES.get(name)
        made = kind.parse(rest.split(":") if ":" in part else []) if kind else None
        if made is None:
            forms = kind.FORMS if kind else POLICIES
            raise UsageError(f"there is no curation policy {part!r}", remedy=f"use {', '.join(forms)}")
        if name in found:
            raise UsageError(
                f"{written[name]} and {part} exclude each other in curation {text!r}", remedy=f"name {name} once"
            )
        found[name], written[name] = made, part
    return Policy("+".join(parts), **found)
