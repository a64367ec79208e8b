"""The `qcore` command: mounts one module per command group, each imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from qcore.cli.exits import ExitCode, exit_code_of
from qcore.display import escape_unprintable
from qcore.errors import QcoreError

#: group -> (module with a typer `app`, one line of help). The order is the order of `--help`.
GROUPS: Final[dict[str, tuple[str, str]]] = {
    "demo": (
        "qcore.cli.demo.demo",
        "A simulated partition, then a real cluster that loses its leader.",
    ),
    "node": ("qcore.cli.node", "Run a node."),
    "cluster": ("qcore.cli.cluster.cluster", "Initialise a cluster and look at it."),
    "member": ("qcore.cli.cluster.member", "Show and change who belongs to a cluster."),
    "leader": ("qcore.cli.cluster.leader", "Move the leadership."),
    "snapshot": (
        "qcore.cli.cluster.snapshot",
        "Copy a cluster's state into a file, and check such a file.",
    ),
    "perform": ("qcore.cli.perform", "Send one request to the entity store."),
    "execute": ("qcore.cli.execute", "Send one command to a state machine of your own."),
    "sim": ("qcore.cli.sim", "Run scenarios in the deterministic simulator."),
    "version": ("qcore.cli.version", "Print the version."),
}


class LazyGroup(TyperGroup):
    """A command group that imports a subcommand's module only when that subcommand is named.

    `qcore version` must not pay for the simulator, and a mistake in one group must not take down
    the others. (`Any` below: typer's context and command classes have no name that all supported
    versions export.)
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of `GROUPS`, in their order."""
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported now; None when there is no such name."""
        entry = GROUPS.get(cmd_name)
        if entry is None:
            return None
        module_name, summary = entry
        module = importlib.import_module(module_name)
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.help = command.help or summary
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the groups for `--help` without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in GROUPS.items()])


app = typer.Typer(
    cls=LazyGroup,
    name="qcore",
    help="qcore: a simulation-first Raft framework with real nodes over WebSocket.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from qcore.cli.version import line

        print(line())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # used by its callback
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    debug: bool = typer.Option(
        False, "--debug", envvar="QCORE_DEBUG", help="Show the traceback of an unexpected error."
    ),
) -> None:
    if debug:
        os.environ["QCORE_DEBUG"] = "1"


def main() -> None:
    """Entry point of the `qcore` script; exits with one of `ExitCode`."""
    try:
        app(prog_name="qcore")
    except QcoreError as error:
        # It may quote what a node said, and that a stranger: no codes reach the terminal.
        text = "\n".join(escape_unprintable(line) for line in str(error).split("\n"))
        print(f"error: {text}", file=sys.stderr)
        sys.exit(exit_code_of(error))
    except BrokenPipeError:
        # The reader of our output (`| head`) went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a bug becomes one readable message
        if os.environ.get("QCORE_DEBUG"):
            traceback.print_exc()
        print(
            f"error: unexpected {type(error).__name__}: {error}\n"
            "This is a bug in qcore. Please report it, with the output of the same command run with "
            "QCORE_DEBUG=1.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
