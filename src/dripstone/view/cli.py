"""The command line. Commands are modules of ``view/commands``, imported when they are run."""

from __future__ import annotations

import importlib
import sys

import click

from dripstone import __version__
from dripstone.view.output import report_error

COMMANDS = {
    "demo": "See the whole of it at work on real data.",
    "init": "Make a project and its first version.",
    "update": "Learn from new rows, if that does no harm.",
    "tune": "Search for settings of the next update.",
    "evaluate": "Measure a version on labelled rows.",
    "predict": "Answer rows with a version.",
    "status": "What is live, pending, quarantined, and what to do next.",
    "log": "Every change of the store, newest first.",
    "show": "One version: what moved, how it was judged.",
    "diff": "What differs between two versions, answers included.",
    "revert": "Make an earlier version live again.",
    "promote": "Overrule the gate, with a reason.",
    "grow": "A larger model with the same answers.",
    "unlearn": "Take rows out of the store and of what is live.",
    "data": "Pending and quarantined rows: list, admit, drop.",
    "export": "What low-rank updates added, as an adapter of PEFT's.",
    "verify": "Check every byte of the store.",
    "serve": "Serve the live version over HTTP.",
}


class LazyGroup(click.Group):
    """Knows its commands' names and summaries, and imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dripstone.view.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-C",
    "project",
    default=".",
    metavar="DIR",
    help="Project folder, in place of the working directory. A FILE stays relative to the working directory.",
)
@click.version_option(__version__, prog_name="dripstone")
@click.pass_context
def cli(ctx: click.Context, project: str) -> None:
    """Keep a deployed model learning: small updates that show they do no harm, live at once, undoable.

    Exit codes: 0 done, 1 refused or undecided, or unlearned but not exactly, 2 usage, configuration or data, 3 lost a
    race or a process, or interrupted (run it again), 101 a bug.
    """
    ctx.obj = project


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        code = cli.main(arguments, standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except SystemExit as exit_:
        # What click makes of a reader that goes away in the middle of the help.
        code = exit_.code
    except BaseException as error:
        code = report_error(error)
    sys.exit(code if isinstance(code, int) else 0)
