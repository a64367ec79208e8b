"""`qcore shell`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection_options import as_variables
from qcore.cli.exits import ExitCode
from qcore.cli.options import DEFAULT_ENDPOINT, EndpointsOption, TimeoutOption, split_endpoints

if TYPE_CHECKING:
    from collections.abc import Iterable

app = typer.Typer(rich_markup_mode=None)


@app.command()
def shell(
    ctx: typer.Context,
    commands: Annotated[
        list[str] | None,
        typer.Option(
            "--eval",
            metavar="COMMAND",
            help="Run this command instead of a prompt. May be repeated; the first error ends the shell.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Run commands of qcore at a prompt, over one connection.

    Write commands without `qcore`; `get`, `set`, `find`, `tree` and others are short forms of
    `entity ...`. `help` lists the commands. If standard input is no terminal, it is a script with
    one command on each line; the first error ends it, with its exit code.
    """
    split_endpoints(endpoints)
    variables = {"QCORE_ENDPOINTS": endpoints, **as_variables()}
    source = ctx.get_parameter_source("timeout")
    if source is not None and source.name == "COMMANDLINE":
        variables["QCORE_TIMEOUT"] = str(timeout)
    with _variables(variables):
        code = _run(commands)
    raise typer.Exit(code)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while: the commands take their defaults from there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(commands: Iterable[str] | None) -> int:
    # Late imports: `--help` must not load the prompt.
    from qcore.cli.clients.connection import shared_clients
    from qcore.cli.shell.builtin_commands import Leave
    from qcore.cli.shell.line_runner import run_script
    from qcore.cli.store.access.entity_names import set_current

    with shared_clients() as clients:
        try:
            if commands:
                return run_script(f"{command}\n" for command in commands)
            if sys.stdin is not None and sys.stdin.isatty():
                from qcore.cli.shell.prompt import run_prompt

                return run_prompt(clients)
            return run_script(sys.stdin or ())
        except Leave:
            return ExitCode.DONE
        finally:
            set_current(())
