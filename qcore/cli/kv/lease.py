"""`qcore kv lease`: grants, keeps, revokes and shows leases."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.kv.key_rows import counted, value_text
from qcore.cli.kv.kv_connection import with_keys
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
)
from qcore.cli.output import csv_header, csv_rows, show

if TYPE_CHECKING:
    from qcore.client import Client
    from qcore.kv import LeaseInfo

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Grant, keep, revoke and show leases, which delete their keys when they end.",
)

LeaseArgument = Annotated[int, typer.Argument(metavar="ID", min=1, help="The number of the lease.")]
#: A lease is kept alive after this share of its time to live.
_SHARE: Final = 3
_KEPT: Final = ("lease", "ttl_s")


@app.command()
def grant(
    ttl: Annotated[
        float, typer.Argument(metavar="SECONDS", min=0.1, help="The time to live of the lease.")
    ],
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Grant a lease. Prints its number."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> int:
        return await KeyValue(client).grant(ttl)

    number = with_keys(endpoints, timeout, work)
    show(output, {"lease": number, "ttl_s": ttl}, text=str(number))


@app.command()
def keep(
    lease: LeaseArgument,
    once: Annotated[
        bool, typer.Option("--once", help="Once, and not until Ctrl-C or the lease ends.")
    ] = False,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Keep a lease alive. With -o json, each line is an object."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> None:
        kv = KeyValue(client)
        if output is OutputFormat.csv:
            csv_header(_KEPT)
        while True:
            ttl_s = await kv.keep_alive(lease)
            kept: dict[str, int | float] = {"lease": lease, "ttl_s": ttl_s}
            if output is OutputFormat.csv:
                csv_rows(_KEPT, [kept])
            else:
                show(output, kept, text=f"lease {lease} lives for {ttl_s:g} s")
            sys.stdout.flush()
            if once:
                return
            await asyncio.sleep(ttl_s / _SHARE)

    with_keys(endpoints, timeout, work)


@app.command()
def revoke(
    lease: LeaseArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """End a lease, and delete its keys."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> int:
        return await KeyValue(client).revoke(lease)

    deleted = with_keys(endpoints, timeout, work)
    show(output, {"lease": lease, "deleted": deleted}, text=counted(deleted))


@app.command("show")
def show_lease(
    lease: LeaseArgument,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Show how long a lease lives, and its keys."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> LeaseInfo:
        return await KeyValue(client).lease(lease)

    found = with_keys(endpoints, timeout, work)
    body = {
        "lease": found.lease_id,
        "ttl_s": found.ttl_s,
        "remaining_s": found.remaining_s,
        "keys": [value_text(key) for key in found.keys],
    }
    show(output, body)


@app.command("list")
def list_leases(
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """List the numbers of all leases."""
    from qcore.kv import KeyValue

    async def work(client: Client) -> list[int]:
        return await KeyValue(client).leases()

    numbers = with_keys(endpoints, timeout, work)
    show(output, numbers, rows=[{"lease": number} for number in numbers], columns=("lease",))
