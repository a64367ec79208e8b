"""`qcore execute`: sends one command or query to a custom state machine."""

from __future__ import annotations

from typing import Annotated

import typer

from qcore.cli.options import DEFAULT_ENDPOINT, EndpointsOption, TimeoutOption, split_endpoints
from qcore.cli.stdin import argument_or_stdin

app = typer.Typer(rich_markup_mode=None)


@app.command()
def execute(
    command: Annotated[
        str,
        typer.Argument(
            help="The command in the format of the state machine, or - to read it from standard input."
        ),
    ],
    read: Annotated[
        bool, typer.Option("--read", help="Send a query instead: a linearizable read.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Send one command to a custom state machine and print the result.

    The nodes run the machine with `qcore node start --machine`.
    """
    from qcore.cli.runner import run
    from qcore.client.client import Client

    targets = split_endpoints(endpoints)
    text = argument_or_stdin(command, "command")

    async def work() -> str:
        async with Client(targets, timeout_s=timeout) as client:
            return await client.execute(text, read=read)

    print(run(work()))
