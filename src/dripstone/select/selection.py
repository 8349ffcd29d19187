"""``selection@method``: which parameters may move and how, from its text form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.full import full
from dripstone.select.grown import grown, new_parts
from dripstone.select.head import head
from dripstone.select.suffix import suffix
from dripstone.select.vectors import vectors

SELECTORS = {"head": head, "suffix": suffix, "vectors": vectors, "full": full, "grown": grown}
LADDER = "ladder"
RIDGE = "ridge"


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed selection; ``str()`` gives the text form back, method included.

    ``method`` is ``ridge``, the closed form, or the name of an optimiser; the ladder chooses its own.

    Examples
    --------
    >>> selection = parse_selection("suffix:2")
    >>> selection.name, selection.argument, selection.method, str(selection)
    ('suffix', 2, 'adamw', 'suffix:2@adamw')
    """

    name: str
    argument: int | None
    method: str

    def __str__(self) -> str:
        argument = "" if self.argument is None else f":{self.argument}"
        return f"{self.name}{argument}@{self.method}" if self.method else f"{self.name}{argument}"

    def parameters(self, model: nn.Module) -> list[str]:
        """Names, within the whole model, of the parameters that may move. The ladder has none before it has climbed."""
        return SELECTORS[self.name](model, self.argument)

    def parts(self, model: nn.Module) -> dict[str, tuple[int, int]]:
        """Of those that may move in part only, the dimension in which they do so, and the first index of what moves."""
        return new_parts(model) if self.name == "grown" else {}


def parse_selection(text: str, head_method: str = RIDGE, loop_method: str = "adamw") -> Selection:
    """Read ``ladder``, or one of the selectors with an optional ``@method``.

    Parameters
    ----------
    text : str
        ``"head@ridge"``, ``"suffix:1@sgd"``, ``"full"``. Whether an optimiser of that name exists is not asked here.
    head_method, loop_method : str
        The method of ``head``, and of every other selector, where the text gives none.

    Raises
    ------
    UsageError
        If the selector or its argument is not known, or the closed form is asked for more than the head.
    """
    selector, at, method = text.strip().partition("@")
    name, _, argument = selector.partition(":")
    if name not in {*SELECTORS, LADDER}:
        raise _mistake(f"there is no selection {name!r}", _suggest(name, [LADDER, *SELECTORS]))
    if name == LADDER:
        if at or argument:
            raise _mistake("the ladder chooses selection and method itself", "write ladder")
        return Selection(name, None, "")
    method = method if at else (head_method if name == "head" else loop_method)
    if method != RIDGE and (not method or difflib.get_close_matches(method.lower(), [RIDGE])):
        raise _mistake(f"there is no method {method!r}", "did you mean 'ridge'?" if method else "write head@ridge")
    if method == RIDGE and name != "head":
        raise _mistake(f"ridge solves the head alone, not {selector}", f"use head@ridge or {selector}@{loop_method}")
    return Selection(name, _argument(name, argument, text), method)


def _argument(name: str, argument: str, text: str) -> int | None:
    if name == "suffix":
        if re.fullmatch(r"0*[1-9][0-9]{0,8}", argument):
            return int(argument)
        raise _mistake(f"{text!r} does not say how many blocks", "write suffix:1")
    if argument:
        raise _mistake(f"{name} takes no argument", f"write {name}")
    return None


def _mistake(message: str, remedy: str) -> UsageError:
    return UsageError(message, remedy=remedy, kind="usage.selection")


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.strip().lower(), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
