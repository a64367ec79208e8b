"""The `qcore` command: finds the module of a command group, and imports it only when the group is used."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from qcore.cli.clients.asked import Asked
from qcore.cli.clients.connection_options import add_connection_options, own_options
from qcore.cli.exits import ExitCode, exit_code_of
from qcore.cli.next_steps import error_text
from qcore.display import escape_unprintable, printable
from qcore.errors import ConfigError, QcoreError

#: Group -> (module with a typer `app`, one line of help), in the order of `--help`.
GROUPS: Final[dict[str, tuple[str, str]]] = {
    "demo": (
        "qcore.cli.demo.demo",
        "Simulate a partition, then kill -9 the leader of a real cluster.",
    ),
    "node": ("qcore.cli.node.start", "Run a node, and recover nodes whose cluster is lost."),
    "doctor": (
        "qcore.cli.doctor.doctor",
        "Find what is wrong with a computer or with nodes, and say what to change.",
    ),
    "cluster": ("qcore.cli.cluster.cluster", "Initialise, inspect and upgrade a cluster."),
    "top": ("qcore.cli.top.top", "Watch the members, rates and log lines of a cluster."),
    "member": ("qcore.cli.cluster.member", "Show and change the members of a cluster."),
    "user": ("qcore.cli.users.user", "Add, change and list users."),
    "role": ("qcore.cli.users.role", "Say what users may do."),
    "token": ("qcore.cli.users.token", "Make and end tokens of users."),
    "leader": ("qcore.cli.cluster.leader", "Transfer the leadership."),
    "snapshot": (
        "qcore.cli.cluster.snapshot",
        "Back up a cluster's state to a file, check such a file, and begin a new cluster from it.",
    ),
    "check": ("qcore.cli.recovery.check", "Check a node's data directory."),
    "repair": (
        "qcore.cli.recovery.repair",
        "Repair a data directory where nothing acknowledged can be lost.",
    ),
    "load": ("qcore.cli.store.load", "Bring a topology file into a cluster that runs."),
    "export": ("qcore.cli.store.export", "Write a cluster's state as a topology file."),
    "entity": (
        "qcore.cli.store.entity",
        "Read, write, create, find, move and delete entities.",
    ),
    "schema": ("qcore.cli.store.schema", "Show and set the types of entities."),
    "kv": ("qcore.cli.kv.kv", "Read, set, delete and watch keys, and manage leases."),
    "gateway": (
        "qcore.cli.gateway.gateway",
        "Serve the API of another system in front of a cluster.",
    ),
    "log": ("qcore.cli.log.log", "Show what is in a node's log and snapshot."),
    "watch": ("qcore.cli.store.watch", "Print the changes of a field as they happen."),
    "shell": ("qcore.cli.shell.shell", "Run commands at a prompt, over one connection."),
    "perform": ("qcore.cli.perform", "Send one request to the entity store."),
    "execute": ("qcore.cli.execute", "Send one command to a custom state machine."),
    "new": ("qcore.cli.new.new", "Write the beginning of a custom state machine."),
    "sim": ("qcore.cli.sim.scenarios", "Run scenarios in the deterministic simulator."),
    "view": ("qcore.cli.view", "Write a page that shows a run, or the traces of real nodes."),
    "examples": ("qcore.cli.examples", "List the examples, and copy them to a directory."),
    "version": ("qcore.cli.version", "Print the version."),
}


#: The groups whose arguments become JSON.
_TEXT_GROUPS: Final = ("entity", "schema", "kv", "watch")

#: What a command raises that reads an answer of another form than it expects.
_READ_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError)
#: The base of what typer raises for wrong arguments: no name of it is exported by all supported versions.
_ClickException: Final = typer.BadParameter.__mro__[2]


class LazyGroup(TyperGroup):
    """A command group that imports the module of a subcommand only when that subcommand is used.

    So `qcore version` does not load the simulator, and a bug in one group does not break the others. (`Any`: no name
    of typer's context and command classes is exported by all supported versions.)
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of `GROUPS`, in their order."""
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return the command; None if there is no such name."""
        entry = GROUPS.get(cmd_name)
        if entry is None:
            return None
        module_name, summary = entry
        module = importlib.import_module(module_name)
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.help = command.help or summary
        (version,) = (each for each in self.params if each.name == "version")
        if cmd_name in _TEXT_GROUPS:
            _require_utf8(command)
        _unify(command, version)
        add_connection_options(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the groups for `--help` without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in GROUPS.items()])


def _unify(command: Any, version: Any) -> None:
    """Give a command and those below it `--version`. Only the root has the options that install completion."""
    completion = ("install_completion", "show_completion")
    command.params = [each for each in command.params if each.name not in completion]
    command.params.append(version)
    for below in getattr(command, "commands", {}).values():
        _unify(below, version)


def _require_utf8(command: Any) -> None:
    """Let a command and those below it check their texts. The name of a file may be any bytes."""
    for each in command.params:
        if each.metavar != "FILE":
            each.callback = partial(_check_utf8, each.callback)
    for below in getattr(command, "commands", {}).values():
        _require_utf8(below)


def _check_utf8(next_callback: Callable[..., Any] | None, ctx: Any, param: Any, value: Any) -> Any:
    """Reject a text of the command line that is not UTF-8: its bytes arrive as lone surrogates."""
    for text in value if isinstance(value, list | tuple) else [value]:
        try:
            str(text).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{param.metavar or param.opts[0]}: {printable(str(text))} is not UTF-8 text: "
                "write it in UTF-8, or name an entity by its id"
            ) from None
    return value if next_callback is None else next_callback(ctx, param, value)


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
        from qcore.cli.version import version_line

        print(version_line())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # the callback prints it
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            expose_value=False,
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
    """The entry point of the `qcore` script. Exits with an `ExitCode`."""
    if sys.argv[1:3] == ["node", "start"]:
        from qcore.node.process.early_hangup import EarlyHangup

        EarlyHangup.begin()  # before the imports of a node, which take seconds on a busy computer
    sys.exit(run_arguments(app, None))


def run_arguments(
    program: typer.Typer, arguments: Sequence[str] | None, name: str = "qcore"
) -> int:
    """Run a command of the program, report its error on stderr, and return its exit code.

    Args:
        program: the root of the commands.
        arguments: the words after `qcore`; None for those of this process.
        name: what comes before the commands in messages about their usage; empty in the shell.
    """
    with own_options():
        return _reported(program, arguments, name)


def _reported(program: typer.Typer, arguments: Sequence[str] | None, name: str) -> int:
    """Run a command, report its error on stderr, and return its exit code."""
    Asked.begin()
    try:
        code = _ended(program, arguments, name)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (such as `| head`) is gone, so there is no place to report this.
        _write_nowhere()
        return ExitCode.BROKEN_PIPE
    except QcoreError as error:
        print(f"error: {error_text(error)}", file=sys.stderr)
        return exit_code_of(error)
    except Exception as error:  # noqa: BLE001 - the outermost boundary turns a bug into a readable message
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO):
            _write_nowhere()
            print(
                f"error: cannot write the result: {error.strerror}: make space on the disk, or write elsewhere",
                file=sys.stderr,
            )
            return ExitCode.FAILED
        if os.environ.get("QCORE_DEBUG"):
            traceback.print_exc()
        if Asked.endpoints and isinstance(error, _READ_ERRORS):
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(
                f"error: the answer of {escape_unprintable(', '.join(Asked.endpoints))} makes no sense "
                f"({escape_unprintable(why)}): is it a node of qcore, of no newer version? If it is, report this with "
                "the output of QCORE_DEBUG=1",
                file=sys.stderr,
            )
            return ExitCode.REJECTED
        print(
            f"error: unexpected {type(error).__name__}: {error}\n"
            "This is a bug in qcore. Please report it, with the output of the same command run with "
            "QCORE_DEBUG=1.",
            file=sys.stderr,
        )
        return ExitCode.FAILED
    return code


def _ended(program: typer.Typer, arguments: Sequence[str] | None, name: str) -> int:
    """Run a command and return its exit code; wrong usage is reported in one line."""
    try:
        code = program(arguments, prog_name=name, standalone_mode=False)
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        return ended.code if isinstance(ended.code, int) else ExitCode.DONE
    except typer.Abort:
        print("aborted", file=sys.stderr)
        return ExitCode.FAILED
    except Exception as error:
        if not isinstance(error, _ClickException):
            raise
        return _report_usage(error)
    return code if isinstance(code, int) else ExitCode.DONE


def _report_usage(error: Any) -> int:
    """Print what is wrong with the arguments, and return the exit code."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if not message or context is None or type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # the help
        return ExitCode.USAGE
    print(
        f"error: {escape_unprintable(message.removesuffix('.'))}: see `{context.command_path.strip()} --help`",
        file=sys.stderr,
    )
    return ExitCode.USAGE


def _write_nowhere() -> None:
    """Let the rest of the output go nowhere, so that the end of the process does not fail to write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
