"""Settings into ``dripstone.toml``: the keys that differ, and not a comment, a blank or the order of anything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dripstone.core.config import FILE_NAME, load_config
from dripstone.core.errors import StoreError, UsageError
from dripstone.store.files import write_over


def import_tomlkit() -> Any:
    """The package ``tomlkit``, or an error that says how to install it."""
    try:
        import tomlkit
    except ImportError as error:
        raise UsageError(
            "writing settings needs the package 'tomlkit'", remedy="pip install 'dripstone[tune]'"
        ) from error
    return tomlkit


def check_writable(project: Path) -> None:
    """Refuse a project whose ``dripstone.toml`` is read-only: another file in its place would not be what was asked.

    Raises
    ------
    UsageError
        ``usage.readonly``.
    """
    path = project / FILE_NAME
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{path} is read-only", remedy="make it writable, or use --dry-run", kind="usage.readonly")


def write_settings(project: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Set keys of a project's ``dripstone.toml``, in one step.

    Parameters
    ----------
    project : Path
        The folder.
    settings : mapping
        ``"section.key"``, or ``"section.table.key"``, to a value; None takes the key out.

    Returns
    -------
    dict
        Those that were not so already.

    Raises
    ------
    UsageError
        If the file is none that a project could have, or is read-only.
    StoreError
        If it cannot be written, or says something else with the keys in it; it is as it was then.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "dripstone.toml").write_text("[train]\\nbatch_size = 8  # small\\n")
    >>> write_settings(folder, {"train.batch_size": 16, "select.selection": "full", "train.seed": None})
    {'train.batch_size': 16, 'select.selection': 'full'}
    >>> print((folder / "dripstone.toml").read_text())
    [train]
    batch_size = 16  # small
    <BLANKLINE>
    [select]
    selection = "full"
    <BLANKLINE>
    """
    tomlkit = import_tomlkit()
    check_writable(project)
    path = project / FILE_NAME
    before = msgspec.to_builtins(load_config(project))
    text = path.read_bytes().decode("utf-8-sig")
    document = tomlkit.parse(text)
    changed = {key: value for key, value in settings.items() if _set(tomlkit, document, key.split("."), value)}
    if changed:
        made = tomlkit.dumps(document)
        _check(made, before, changed)
        target = path.resolve()
        write_over(target, made.encode(), mode=target.stat().st_mode & 0o777)
    return changed


def _set(tomlkit: Any, document: Any, path: list[str], value: Any) -> bool:
    """Set or take out one key; whether that changed anything."""
    *tables, key = path
    node = document
    for depth, name in enumerate(tables):
        if name not in node:
            if value is None:
                return False
            if depth == 0 and document.body and document.as_string().strip():
                _end_with_blank_line(tomlkit, document)
            _put(tomlkit, node, name, tomlkit.table() if depth == 0 else tomlkit.inline_table())
        node = node[name]
    if value is None:
        return node.pop(key, None) is not None
    if key in node and type(node.get(key).unwrap()) is type(value) and node[key] == value:
        return False
    _put(tomlkit, node, key, value)
    return True


def _put(tomlkit: Any, node: Any, key: str, value: Any) -> None:
    """Set a key of a table; a new one comes after its last key, not after what is said of the next table."""
    is_new = key not in node and not isinstance(node, tomlkit.TOMLDocument)
    behind = _take_end(tomlkit, node) if is_new else []
    node[key] = value
    if behind:
        _body(node).extend(behind)


def _take_end(tomlkit: Any, node: Any) -> list[Any]:
    """Comments and blanks at the end of a table, taken out: they are about what comes next."""
    body = _body(node)
    behind: list[Any] = []
    while body and body[-1][0] is None and isinstance(body[-1][1], tomlkit.items.Comment | tomlkit.items.Whitespace):
        behind.insert(0, body.pop())
    if body and isinstance(body[-1][1], tomlkit.items.Table | tomlkit.items.AoT):  # tomlkit puts keys before these
        body.extend(behind)
        return []
    return behind


def _body(node: Any) -> list[Any]:
    """The lines of a table, [key or None, item]; of one that is written inline there are none to care for."""
    return getattr(getattr(node, "value", node), "body", [])


def _end_with_blank_line(tomlkit: Any, document: Any) -> None:
    text = document.as_string()
    if not text.endswith("\n"):
        document.add(tomlkit.nl())
    if not text.endswith(("\n\n", "\n\r\n")):
        document.add(tomlkit.nl())


def _check(made: str, before: dict[str, Any], changed: Mapping[str, Any]) -> None:
    """The new text says what the old one did, but for the changed keys."""
    import tomllib

    from dripstone.core.config import Config

    wanted = before
    for name, value in changed.items():
        *tables, key = name.split(".")
        node = wanted
        for table in tables:
            node = node[table]
        if value is None:
            node.pop(key)
        else:
            node[key] = value
    try:
        found = msgspec.convert(tomllib.loads(made), Config)
        same = found == msgspec.convert(wanted, Config)
    except ValueError:
        same = False
    if not same:
        raise StoreError(
            f"{FILE_NAME} would say something else with {', '.join(changed)} set",
            remedy="set these keys by hand",
            kind="tune.settings",
        )
