"""`qcore leader transfer`: hand leadership over."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Move the leadership.")


@app.callback()
def _group() -> None:
    """Move the leadership."""


@app.command()
def transfer(
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="The voter that takes over; by default the best one."),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Hand leadership to another voter and wait until it leads."""
    from qcore.cli.runner import run
    from qcore.node.client import QcoreClient

    targets = split_endpoints(endpoints)

    async def work() -> tuple[int, int]:
        async with QcoreClient(targets, timeout_s=timeout, admin=True) as client:
            before = (await client.leader_metrics())["id"]
            await client.transfer_leader(to)
            return before, (await client.leader_metrics())["id"]

    before, after = run(work())
    if output is OutputFormat.json:
        print(json.dumps({"from": before, "to": after}))
    else:
        print(f"node {after} leads; before it was node {before}")
