import importlib
import subprocess
import sys

import click
import pytest
from view_samples import blobs, live, write_csv

from dripstone import __version__
from dripstone.core.records import LogEntry
from dripstone.store.refs import Log
from dripstone.store.repository import Repository
from dripstone.view.cli import COMMANDS

pytest_plugins = ["view_fixtures"]

LOADED = """
import sys
from dripstone.view.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "numpy", "rich", "msgspec", "transformers", "starlette", "uvicorn"}
    print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


def loaded_by(*arguments):
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_help_loads_nothing_heavy():
    assert loaded_by("--help") == set()


@pytest.mark.parametrize("command", [["log"], ["status"], ["show"], ["data", "list"]])
def test_reading_commands_load_no_torch(template, command):
    assert not loaded_by("-C", template, *command) & {"torch", "rich", "transformers", "starlette"}


def test_help_names_every_command(dripstone):
    found = dripstone("--help")
    assert found.code == 0
    for name, summary in COMMANDS.items():
        assert f"{name} " in found.out
        assert summary in found.out
    assert "Exit codes: 0 done, 1 refused" in found.out
    assert dripstone("--version").out == f"dripstone, version {__version__}\n"
    assert dripstone().code == 2


def commands():
    for name in COMMANDS:
        command = importlib.import_module(f"dripstone.view.commands.{name}").command
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        yield from ((name, leaf) for leaf in inner)


@pytest.mark.parametrize(("name", "command"), [pytest.param(n, c, id=f"{n}-{c.name}") for n, c in commands()])
def test_every_command_has_help_and_a_format(name, command):
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    options = {text for option in command.params for text in option.opts}
    assert "--format" in options


def test_usage_errors_are_2(dripstone):
    for arguments in (["nonsense"], ["update"], ["status", "--wrong"], ["log", "-n", "0"], ["demo", "chess"]):
        found = dripstone(*arguments)
        assert (found.code, found.out) == (2, ""), arguments
        assert "Error: " in found.err


@pytest.fixture
def day(project):
    return write_csv(project.parent / "day.csv", blobs(100, "d", 5))


def test_a_second_writer_wins_and_is_named(project, day, dripstone, monkeypatch):
    append = Log.append

    def too_late(log: Log, entry: LogEntry) -> None:
        append(log, LogEntry(entry.number, before, "revert", "", "another", entry.time))
        append(log, entry)

    before = live(project)
    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", too_late)
        found = dripstone("-C", project, "update", day, "--format", "json")
    assert (found.code, found.out) == (3, "")
    assert "another writer committed entry 3 (revert) meanwhile; run the same command again" in found.err
    assert live(project) == before
    assert dripstone("-C", project, "update", day).code == 0


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 3), (RuntimeError("no such luck"), 101)])
def test_what_breaks_an_update_leaves_live_alone(project, day, dripstone, monkeypatch, error, code):
    def broken(*_, **__):
        raise error

    before = live(project)
    monkeypatch.setattr(Repository, "write_version", broken)
    found = dripstone("-C", project, "update", day, "--format", "json")
    assert (found.code, found.out) == (code, "")
    assert live(project) == before
    words = "interrupted" if code == 3 else "a bug: RuntimeError: no such luck; please report the lines above"
    assert words in found.err
    assert ("Traceback" in found.err) == (code == 101)


def test_head_may_leave_early(project):
    many = write_csv(project.parent / "many.csv", blobs(3000, "abc", 1))
    command = [sys.executable, "-m", "dripstone", "-C", str(project), "predict", str(many), "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith('{"prediction": "a"')
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


def test_folders_are_relative_to_c_and_files_to_the_working_directory(project, day, dripstone, monkeypatch):
    monkeypatch.chdir(project)
    assert dripstone("status").out.splitlines()[-1] == "next         dripstone serve, or dripstone update FILE"
    assert dripstone("evaluate", "../day.csv").code == 0
    monkeypatch.chdir("store")
    found = dripstone("status")
    assert found.code == 2
    assert ". is not a dripstone project: it has no dripstone.toml" in found.err
    assert "-C" in found.err
    assert dripstone("-C", "..", "predict", "../../day.csv").code == 0
    assert "there is no file day.csv" in dripstone("-C", "../..", "-C", "..", "predict", "day.csv").err
