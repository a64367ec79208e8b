"""`qcore perform`: sends one JSON request to the entity store and prints the JSON response."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.clients.connection import with_client
from qcore.cli.exits import ExitCode
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import Row, flat, show
from qcore.cli.stdin import argument_or_stdin
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.client.request_sender import Json

app = typer.Typer(rich_markup_mode=None)


@app.command()
def perform(
    request: Annotated[
        str, typer.Argument(help="The request as JSON, or - to read it from standard input.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.json,
) -> None:
    """Send one request to the entity store and print the response, as JSON by default.

    For example: qcore perform '{"GetSchema": {"entity_type": "User"}}'
    """
    try:
        parsed = json.loads(argument_or_stdin(request, "request"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the request is not JSON: {error}; quote it for the shell: qcore perform '{{...}}'"
        ) from None
    if not (isinstance(parsed, dict) and len(parsed) == 1):
        raise ConfigError(
            'the request must be an object with one key, such as {"GetSchema": {...}}'
        )

    async def work(client: Client) -> Json:
        return await client.perform(parsed)

    response = with_client(endpoints, timeout, work)
    ((_, body),) = response.items()
    show(output, response, rows=_rows(body.get("response")))
    if body.get("error") is not None:
        print(f"error: {body['error']}", file=sys.stderr)
        raise typer.Exit(ExitCode.REJECTED)


def _rows(result: Json) -> list[Row]:
    """The rows of a result: of a list one for each item, and else one."""
    if isinstance(result, list) and all(isinstance(item, dict) for item in result):
        return [flat(item) for item in result]
    return [flat(result if isinstance(result, dict) else {"response": result})]
