"""The folder tree of the README, from the first line of each module's docstring.

python docs/tree.py          print the tree
python docs/tree.py --write  put it into README.md and README.zh-CN.md
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dripstone"
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"
ORDER = ["core", "stream", "curate", "select", "train", "tasks", "models", "gate", "store", "update", "serve", "view"]


def caption(path: Path) -> str:
    """First line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return (docstring or "").partition("\n")[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> list[tuple[str, str]]:
    """(name, caption) of a folder's modules, then of its folders, in the order of the flow."""
    indent = "  " * depth
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py" or depth == 0)
    found = [(f"{indent}{path.name}", caption(path)) for path in files]
    folders = [path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    for path in sorted(folders, key=lambda p: (ORDER.index(p.name) if p.name in ORDER else len(ORDER), p.name)):
        inside = lines(path, depth + 1)
        if inside or caption(path / "__init__.py"):
            found += [(f"{indent}{path.name}/", caption(path / "__init__.py")), *inside]
    return found


def tree() -> str:
    """The tree as the README shows it."""
    found = [("src/dripstone/", ""), *((f"  {name}", text) for name, text in lines(SOURCE))]
    width = max(len(name) for name, _ in found) + 2
    return "\n".join(f"{name.ljust(width)}{text}".rstrip() for name, text in found)


def with_tree(text: str) -> str:
    """A README with the tree of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n```\n{tree()}\n```\n{END}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        for name in ("README.md", "README.zh-CN.md"):
            path = ROOT / name
            path.write_text(with_tree(path.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write(tree() + "\n")
