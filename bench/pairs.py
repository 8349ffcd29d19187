"""Pairs of texts that are at hand: what a function does and what it is called, and phrases and their normal form.

Either has an old distribution and a shifted one.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dripstone.view.demo.sources import LEFT_OUT

Row = dict[str, str]

TESTED = 300
"""Rows of either distribution that are kept from learning, to measure by."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Stream:
    """Rows with ``text``, ``reply`` and ``domain``, and rows to measure by, of the old distribution and the new."""

    name: str
    old: list[Row]
    new: list[Row]
    old_test: list[Row]
    new_test: list[Row]


def names(most: int) -> Stream:
    """Summary lines of docstrings to the names of functions, in words; half of the standard library, then the rest.

    Examples
    --------
    >>> names(100).old[0].keys() == {"text", "reply", "domain"}
    True
    """
    halves: dict[str, dict[str, Row]] = {"half": {}, "rest": {}}
    for package, text, name in _functions(Path(sysconfig.get_paths()["stdlib"])):
        domain = ("half", "rest")[hashlib.sha256(package.encode()).digest()[0] % 2]
        halves[domain].setdefault(text, {"text": text, "reply": _words(name), "domain": domain})
    # What both halves say belongs to the first one, or it would be measured as new.
    rest = [row for text, row in halves["rest"].items() if text not in halves["half"]]
    return _parted("names", list(halves["half"].values()), rest, most)


def phrases(most: int) -> Stream:
    """Dates and numbers as people say them to their normal form: English ones, then German ones and other orders.

    Examples
    --------
    >>> [(row["text"], row["reply"]) for row in phrases(3).new_test[:2]]
    [('...', '...'), ('...', '...')]
    """
    return _parted("phrases", _drawn(OLD, most, "old"), _drawn(NEW, most, "new"), most)


def _parted(name: str, old: list[Row], new: list[Row], most: int) -> Stream:
    draw = random.Random(0)
    parts = []
    for rows in (old, new):
        draw.shuffle(rows)
        tested = min(TESTED, len(rows) // 4)
        parts.append((rows[tested:][:most], rows[:tested]))
    (old, old_test), (new, new_test) = parts
    return Stream(name, old, new, old_test, new_test)


def _functions(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Package, summary line and name of each documented function whose name is its own."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if LEFT_OUT & set(parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError):  # a template, or a file in another encoding
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                summary = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if 10 <= len(summary) <= 120 and ">>>" not in summary:
                    yield parts[0].removesuffix(".py"), summary, node.name


def _words(name: str) -> str:
    """The words of a name.

    Examples
    --------
    >>> _words("_getLongName"), _words("is_multicast")
    ('get long name', 'is multicast')
    """
    return " ".join(part for part in _CAMEL.sub("_", name).lower().split("_") if part) or name


ONES, TENS, MONTHS = (
    line.split()
    for line in (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen",
        "twenty thirty forty fifty sixty seventy eighty ninety",
        "January February March April May June July August September October November December",
    )
)
EINER, ZEHNER, MONATE = (
    line.split()
    for line in (
        "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
        "siebzehn achtzehn neunzehn",
        "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    )
)
IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
IRREGULAR |= {"twelve": "twelfth"}


def english(number: int) -> str:
    """A number below 10,000 in words.

    Examples
    --------
    >>> english(205), english(3040)
    ('two hundred and five', 'three thousand and forty')
    """
    for unit, word in ((1000, "thousand"), (100, "hundred")):
        if number >= unit:
            rest = number % unit
            joint = " and " if 0 < rest < 100 else " "
            return f"{english(number // unit)} {word}" + (f"{joint}{english(rest)}" if rest else "")
    if number < 20:
        return ONES[number]
    return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")


def german(number: int) -> str:
    """A number below 10,000 in words.

    Examples
    --------
    >>> german(205), german(3041)
    ('zweihundertfünf', 'dreitausendeinundvierzig')
    """
    for unit, word in ((1000, "tausend"), (100, "hundert")):
        if number >= unit:
            rest = number % unit
            return f"{german(number // unit)}{word}{german(rest) if rest else ''}"
    if number < 20:
        return EINER[number]
    return (f"{EINER[number % 10]}und" if number % 10 else "") + ZEHNER[number // 10 - 2]


def ordinal(day: int) -> str:
    """A day of a month in words.

    Examples
    --------
    >>> ordinal(3), ordinal(21), ordinal(30)
    ('third', 'twenty-first', 'thirtieth')
    """
    head, dash, last = english(day).rpartition("-")
    last = IRREGULAR.get(last, last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return head + dash + last


def _suffixed(day: int) -> str:
    return f"{day}{'th' if day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


Template = Callable[[int, int, int], str]
"""Of day, month and year a phrase."""

OLD_DATES: list[Template] = [
    lambda d, m, y: f"the {ordinal(d)} of {MONTHS[m]} {y}",
    lambda d, m, y: f"{MONTHS[m]} {d}, {y}",
    lambda d, m, y: f"{_suffixed(d)} {MONTHS[m]} {y}",
    lambda d, m, y: f"{d} {MONTHS[m][:3]} {y}",
]
NEW_DATES: list[Template] = [
    lambda d, m, y: f"{d}. {MONATE[m]} {y}",
    lambda d, m, y: f"am {d}. {MONATE[m][:3]}. {y}",
    lambda d, m, y: f"{y}, {MONTHS[m]} the {ordinal(d)}",
]
OLD, NEW = (OLD_DATES, english), (NEW_DATES, german)


def _drawn(kind: tuple[list[Template], Callable[[int], str]], most: int, domain: str) -> list[Row]:
    """Different phrases, enough to learn and to measure by; a third are numbers."""
    dates, number = kind
    draw = random.Random(domain)
    found: dict[str, Row] = {}
    while len(found) < most + TESTED:
        if draw.random() < 1 / 3:
            value = draw.randrange(10 ** draw.randint(1, 4))
            text, reply = number(value), str(value)
        else:
            day, month, year = draw.randint(1, 28), draw.randrange(12), draw.randint(1900, 2029)
            text, reply = draw.choice(dates)(day, month, year), f"{year}-{month + 1:02}-{day:02}"
        found.setdefault(text, {"text": text, "reply": reply, "domain": domain})
    return list(found.values())
