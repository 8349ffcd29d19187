"""What is on every machine that runs Python: the standard library's code, and the prose of its docstrings."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Row = dict[str, str]

LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo", "ensurepip"}
SHORTEST, LONGEST = 200, 2000
"""Characters of a document."""


@dataclass(slots=True)
class Library:
    """Functions without their docstrings, and docstrings; documents of both as rows with their domain."""

    code: list[Row] = field(default_factory=list)
    prose: list[Row] = field(default_factory=list)


def read_library(code: int, prose: int) -> Library:
    """Documents of so many characters of both domains, or as many as there are.

    Modules come in an order that is the same for all files of the same name, so that two machines with one version of
    Python read the same.

    Examples
    --------
    >>> library = read_library(code=2000, prose=2000)
    >>> library.code[0]["domain"], library.prose[0]["domain"]
    ('code', 'prose')
    """
    library = Library()
    missing = {"code": code, "prose": prose}
    for path in _modules(Path(sysconfig.get_paths()["stdlib"])):
        if max(missing.values()) <= 0:
            break
        for domain, text in _documents(path):
            if SHORTEST <= len(text) <= LONGEST and missing[domain] > 0:
                (library.code if domain == "code" else library.prose).append({"text": text, "domain": domain})
                missing[domain] -= len(text)
    return library


def _modules(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*.py") if not LEFT_OUT & set(path.relative_to(folder).parts)]
    return sorted(found, key=lambda path: hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest())


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, OSError):  # a template, or a file in another encoding
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            doc = ast.get_docstring(node)
            if doc:
                yield "prose", doc
        if isinstance(node, ast.FunctionDef):
            yield "code", "\n".join(_without_docstring(node, lines))


def _without_docstring(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    """The lines of a function, moved to the left margin."""
    first = node.body[0]
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    doc = range(first.lineno - 1, first.end_lineno or first.lineno) if ast.get_docstring(node) else range(0)
    return [line[node.col_offset :] for place, line in enumerate(lines[start:end], start) if place not in doc]
