"""`qcore perform`: sends one JSON request to the entity store and prints the JSON response."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import DEFAULT_ENDPOINT, EndpointsOption, TimeoutOption, split_endpoints
from qcore.cli.stdin import argument_or_stdin
from qcore.errors import ConfigError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def perform(
    request: Annotated[
        str, typer.Argument(help="The request as JSON, or - to read it from standard input.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
) -> None:
    """Send one request to the entity store and print the response.

    For example: qcore perform '{"GetSchema": {"entity_type": "User"}}'
    """
    from qcore.cli.runner import run
    from qcore.client.client import Client
    from qcore.client.request_sender import Json

    try:
        parsed = json.loads(argument_or_stdin(request, "request"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the request is not JSON: {error}") from None
    if not (isinstance(parsed, dict) and len(parsed) == 1):
        raise ConfigError(
            'the request must be an object with one key, such as {"GetSchema": {...}}'
        )
    targets = split_endpoints(endpoints)

    async def work() -> Json:
        async with Client(targets, timeout_s=timeout) as client:
            return await client.perform(parsed)

    response = run(work())
    print(json.dumps(response, ensure_ascii=False))
    ((_, body),) = response.items()
    if body.get("error") is not None:
        print(f"error: {body['error']}", file=sys.stderr)
        raise typer.Exit(ExitCode.REJECTED)
