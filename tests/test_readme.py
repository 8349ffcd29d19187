"""The README tells the truth: its tree is today's, its code runs, its settings exist."""

import importlib.util
import re
from pathlib import Path

import msgspec
import pytest

from dripstone.core.config import Config
from dripstone.view.cli import COMMANDS

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


def load_tree():
    spec = importlib.util.spec_from_file_location("tree", ROOT / "docs" / "tree.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_tree_is_todays(readme):
    text = readme.read_text("utf-8")
    assert load_tree().with_tree(text) == text, "run python docs/tree.py --write"


def test_every_source_file_has_a_caption():
    tree = load_tree()
    files = [path for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"]
    assert [path for path in files if not tree.caption(path)] == []


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_python_runs(readme, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    exec(compile(blocks[0], str(readme), "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("True ")
    assert printed[1:] == ["[0, 1, 2]", "refused"]
    exec(compile(blocks[1], str(readme), "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("gain proven")
    assert int(printed[1]) > 100
    assert printed[2].startswith("{'perplexity': ")


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_setting_is_documented_with_its_default(readme):
    text = readme.read_text("utf-8")
    sections = msgspec.to_builtins(Config())
    tables = {
        f"{section}.{key}": table
        for section, keys in sections.items()
        for key, table in keys.items()
        if isinstance(table, dict) and table
    }
    for section, keys in (sections | tables).items():
        assert len(keys) <= 8
        row = next(line for line in text.splitlines() if line.startswith(f"| {section} |"))
        for key, default in keys.items():
            assert f"`{key}`" in row, f"{section}.{key}"
            if isinstance(default, int | float) and not isinstance(default, bool):
                assert f"`{key}` ({default:g}" in row or f"`{key}` ({default}" in row, f"{section}.{key}"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_command_is_named(readme):
    text = readme.read_text("utf-8")
    assert " ".join(name for name in ("init", "update", "evaluate")) in text
    assert [name for name in COMMANDS if name not in text] == []
