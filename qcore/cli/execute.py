"""`qcore execute`: sends one command or query to a custom state machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import show
from qcore.cli.stdin import argument_or_stdin
from qcore.errors import RemoteProtocolError

if TYPE_CHECKING:
    from qcore.client.client import Client

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
    output: OutputOption = OutputFormat.table,
) -> None:
    """Send one command to a custom state machine and print the result.

    The nodes run the machine with `qcore node start --machine`.
    """
    text = argument_or_stdin(command, "command")

    async def work(client: Client) -> str:
        try:
            return await client.execute(text, read=read)
        except RemoteProtocolError as error:
            error.add_note(
                "if the cluster runs the entity store, use `qcore perform` and `qcore entity`"
            )
            raise

    result = with_client(endpoints, timeout, work)
    if output is OutputFormat.table:
        print(result)  # as it is: the result may be data for another program
    else:
        show(output, {"result": result})
