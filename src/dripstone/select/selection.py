"""``selection@method``: which parameters may move and how, from its text form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from dripstone.core.errors import UsageError
from dripstone.select.full import full
from dripstone.select.head import head
from dripstone.select.suffix import suffix

SELECTORS = {"head": head, "suffix": suffix, "full": full}
METHODS = ("ridge", "adamw")


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed selection; ``str()`` gives the text form back, method included.

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
        return f"{self.name}{argument}@{self.method}"

    def parameters(self, model: nn.Module) -> list[str]:
        """Names, within the whole model, of the parameters that may move."""
        return SELECTORS[self.name](model, self.argument)


def parse_selection(text: str, head_method: str = "ridge") -> Selection:
    """Read ``head``, ``suffix:k`` or ``full``, each with an optional ``@method``.

    Parameters
    ----------
    text : str
        ``"head@ridge"``, ``"suffix:1@adamw"``, ``"full"``.
    head_method : str
        The method of ``head`` where the text gives none; every other selector's is ``adamw``.

    Raises
    ------
    UsageError
        If selector, argument or method is not known, or the closed form is asked for more than the head.
    """
    selector, _, method = text.strip().partition("@")
    name, _, argument = selector.partition(":")
    if name not in SELECTORS:
        raise UsageError(f"there is no selection {name!r}", remedy=_suggest(name, SELECTORS), kind="usage.selection")
    method = method or (head_method if name == "head" else "adamw")
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}", remedy=_suggest(method, METHODS), kind="usage.selection")
    if method == "ridge" and name != "head":
        raise UsageError(
            f"ridge solves the head alone, not {selector}",
            remedy=f"use head@ridge or {selector}@adamw",
            kind="usage.selection",
        )
    return Selection(name, _argument(name, argument, text), method)


def _argument(name: str, argument: str, text: str) -> int | None:
    if name == "suffix":
        if re.fullmatch(r"0*[1-9][0-9]{0,8}", argument):
            return int(argument)
        raise UsageError(f"{text!r} does not say how many blocks", remedy="write suffix:1", kind="usage.selection")
    if argument:
        raise UsageError(f"{name} takes no argument", remedy=f"write {name}", kind="usage.selection")
    return None


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.strip().lower(), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
