"""``selection@method``: which parameters may move and how, from its text form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from torch import nn

from dripstone.core.errors import UsageError
from dripstone.core.parts import Chosen
from dripstone.select.blocks import blocks
from dripstone.select.entries import entries
from dripstone.select.full import full
from dripstone.select.grown import grown, new_parts
from dripstone.select.head import head
from dripstone.select.low_rank import low_rank
from dripstone.select.rows import rows
from dripstone.select.share import Draw, trainable
from dripstone.select.suffix import suffix
from dripstone.select.vectors import vectors

SELECTORS = {"head": head, "suffix": suffix, "vectors": vectors, "full": full, "grown": grown, "low_rank": low_rank}
"""Those that choose parameters by what the model is."""

SHARES = {"blocks": blocks, "rows": rows, "entries": entries}
"""Those that choose a share of it, in one of several ways."""

WAYS = {
    "blocks": ("cyclic", "random", "gradient"),
    "rows": ("gradient", "random"),
    "entries": ("random", "gradient", "fisher"),
}
"""In which ways a share is chosen, the usual one first."""

SCORED = ("gradient", "fisher")
"""Ways that go by what the rows to learn say."""

LADDER = "ladder"
RIDGE = "ridge"

_COUNTED = {"suffix": ("blocks", "suffix:1"), "low_rank": ("ranks", "low_rank:8")}
_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed selection; ``str()`` gives the text form back, method included.

    ``method`` is ``ridge``, the closed form, or the name of an optimiser; the ladder chooses its own. ``by`` is how a
    share is chosen, and ``every`` after how many steps it is chosen anew; never where that is None. ``rungs`` are those
    of a ladder above the head, in text form without method; its usual ones where there are none.

    Examples
    --------
    >>> selection = parse_selection("suffix:2")
    >>> selection.name, selection.argument, selection.method, str(selection)
    ('suffix', 2, 'adamw', 'suffix:2@adamw')
    >>> str(parse_selection("entries:0.01")), str(parse_selection("rows:0.1:random:50@sgd"))
    ('entries:0.01:random@adamw', 'rows:0.1:random:50@sgd')
    """

    name: str
    argument: int | float | None
    method: str
    by: str = ""
    every: int | None = None
    rungs: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [self.name, self.argument, self.by or None, self.every, "/".join(self.rungs) or None]
        text = ":".join(str(word) for word in words if word is not None)
        return f"{text}@{self.method}" if self.method else text

    @property
    def scores(self) -> str | None:
        """By which scores of the rows to learn it goes: ``gradient`` or ``fisher``; None where it asks for none."""
        return self.by if self.by in SCORED else None

    def choose(self, model: nn.Module, draw: Draw | None = None) -> Chosen:
        """What may move of a whole model. The ladder has nothing before it has climbed."""
        if self.name in SHARES:
            return SHARES[self.name](model, float(self.argument or 0), self.by, draw or Draw())
        names = SELECTORS[self.name](model, None if self.argument is None else int(self.argument))
        return Chosen(names, new_parts(model) if self.name == "grown" else {})

    def turns(self, model: nn.Module, draw: Draw) -> Iterator[Chosen]:
        """What may move one turn after another, without end."""
        while True:
            yield self.choose(model, draw)
            draw = replace(draw, turn=draw.turn + 1)

    def parameters(self, model: nn.Module) -> list[str]:
        """Names, within the whole model, of what may move in some turn, for those that do not go by scores."""
        if self.every is None:
            return self.choose(model).names
        if self.name in ("rows", "entries"):
            return list(trainable(model))
        return replace(self, argument=1.0, every=None).choose(model).names


def parse_selection(text: str, head_method: str = RIDGE, loop_method: str = "adamw") -> Selection:
    """Read ``ladder``, with rungs of one's own or without, or one of the selectors with an optional ``@method``.

    Parameters
    ----------
    text : str
        ``"head@ridge"``, ``"suffix:1@sgd"``, ``"entries:0.01"``, ``"ladder:suffix:1/low_rank:8"``. Whether an optimiser
        of that name exists is not asked here.
    head_method, loop_method : str
        The method of ``head``, and of every other selector, where the text gives none.

    Raises
    ------
    UsageError
        If the selector or its argument is not known, or the closed form is asked for more than the head.
    """
    selector, at, method = text.strip().partition("@")
    name, colon, argument = selector.partition(":")
    if name not in {*SELECTORS, *SHARES, LADDER}:
        raise _mistake(f"there is no selection {name!r}", _suggest(name, [LADDER, *SELECTORS, *SHARES]))
    if name == LADDER:
        if at:
            raise _mistake("the ladder chooses the method itself", f"write {selector}")
        return Selection(name, None, "", rungs=_rungs(argument) if colon else ())
    method = method if at else (head_method if name == "head" else loop_method)
    if method != RIDGE and (not method or difflib.get_close_matches(method.lower(), [RIDGE])):
        raise _mistake(f"there is no method {method!r}", "did you mean 'ridge'?" if method else "write head@ridge")
    if method == RIDGE and name != "head":
        raise _mistake(f"ridge solves the head alone, not {selector}", f"use head@ridge or {selector}@{loop_method}")
    if name in SHARES:
        share, by, every = _share(name, argument, text)
        return Selection(name, share, method, by, every)
    return Selection(name, _count(name, argument, text), method)


def _rungs(argument: str) -> tuple[str, ...]:
    words = argument.split("/")
    rungs = [parse_selection(word) for word in words]
    for word, rung in zip(words, rungs, strict=True):
        if rung.name in ("head", LADDER, "grown") or "@" in word or rung.every is not None:
            remedy = "write ladder:suffix:1/low_rank:8, the cheapest first; the head comes before them by itself"
            raise _mistake(f"{word!r} is no rung of a ladder", remedy)
    return tuple(str(replace(rung, method="")) for rung in rungs)


def _count(name: str, argument: str, text: str) -> int | None:
    if name in _COUNTED:
        what, example = _COUNTED[name]
        if _COUNT.fullmatch(argument):
            return int(argument)
        raise _mistake(f"{text!r} does not say how many {what}", f"write {example}")
    if ":" in text.partition("@")[0]:
        raise _mistake(f"{name} takes no argument", f"write {name}")
    return None


def _share(name: str, argument: str, text: str) -> tuple[float, str, int | None]:
    """``p``, ``p:way``, ``p:steps`` or ``p:way:steps``."""
    words = argument.split(":")
    share, ways = _as_share(words[0]), WAYS[name]
    if share is None:
        problem = (
            f"{text!r} does not say which share"
            if not words[0]
            else f"the share {words[0]!r} is not above 0 and at most 1"
        )
        raise _mistake(problem, f"write {name}:0.1")
    by = words[1] if len(words) > 1 and not words[1].isdigit() else ways[0]
    rest = words[2 if len(words) > 1 and by == words[1] else 1 :]
    if by not in ways:
        raise _mistake(f"{name} cannot be chosen by {by!r}", _suggest(by, ways))
    if not rest:
        return share, by, None
    if len(rest) > 1 or not _COUNT.fullmatch(rest[0]):
        raise _mistake(f"{text!r} does not say after how many steps", f"write {name}:{share}:random:100")
    if by in SCORED:
        remedy = f"write {name}:{share}:random:{rest[0]}, or {name}:{share}:{by}"
        raise _mistake(f"{name} by {by} is chosen once an update", remedy)
    return share, by, int(rest[0])


def _as_share(word: str) -> float | None:
    try:
        share = float(word)
    except ValueError:
        return None
    return share if 0 < share <= 1 else None


def _mistake(message: str, remedy: str) -> UsageError:
    return UsageError(message, remedy=remedy, kind="usage.selection")


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word.strip().lower(), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
