"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from dripstone.core.config import Config
    from dripstone.learner import Learner
    from dripstone.store.repository import Repository

F = TypeVar("F", bound=Callable[..., Any])


def format_option(function: F) -> F:
    """``--format human|json|quiet``."""
    choice = click.Choice(["human", "json", "quiet"])
    return click.option("--format", type=choice, default="human", show_default=True, help="How to print.")(function)


def set_option(function: F) -> F:
    """``--set section.key=value``, any number of times."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        callback=_parse_settings,
        metavar="SECTION.KEY=VALUE",
        help="Override a key of dripstone.toml for this run; init writes it down.",
    )(function)


def _parse_settings(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    settings = dict(map(_pair, values))
    if settings:
        _check_names(settings)
    return settings


def _check_names(settings: dict[str, str]) -> None:
    """Tell a slip from a name that is far from any; for the latter the configuration lists all there are."""
    import difflib

    from dripstone.core.config import setting_names

    known = setting_names()
    for name in settings:
        if name not in known and (near := difflib.get_close_matches(name, known, n=1)):
            raise click.BadParameter(f"there is no setting {name!r}; did you mean {near[0]!r}?")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name.strip(), value


def parse_arguments(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """``K=V`` pairs whose values are JSON, or plain text where they are not."""
    import json

    arguments: dict[str, Any] = {}
    for name, value in map(_pair, values):
        try:
            arguments[name] = json.loads(value)
        except ValueError:
            arguments[name] = value
    return arguments


def open_learner(project: str, settings: dict[str, str] | None = None) -> Learner:
    """The project with its model; imports torch."""
    from dripstone.learner import Learner

    return Learner.open(project, settings)


def open_store(project: str) -> tuple[Config, Repository]:
    """The project's settings and store, without torch."""
    from dripstone.core.config import load_config
    from dripstone.store.repository import Repository

    config = load_config(Path(project))
    return config, Repository.open(Path(project) / config.store.path)
