"""`qcore leader transfer`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Final

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

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.replica.leadership import Leadership

#: The pause between two queries for the leader.
_POLL_INTERVAL_S: Final = 0.1

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Transfer the leadership.")


@app.callback()
def _group() -> None:
    """Transfer the leadership."""


@app.command()
def transfer(
    to: Annotated[
        int | None,
        typer.Option(
            "--to", min=1, help="The new leader, a voter. Default: the most suitable voter."
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 15.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Transfer the leadership to another voter and wait until that voter leads.

    Exit code 4: the leadership did not move, or not to that voter, and this command will not move
    it any more; 6: it may still move. `qcore cluster status` shows which node leads.
    """

    async def work(client: Client) -> tuple[int, Leadership]:
        deadline = time.monotonic() + timeout
        before = await client.leader_metrics()
        if before["id"] == to:
            return to, Leadership(to, before["current_term"])
        return before["id"], await _transfer_and_confirm(
            client, to, before["current_term"], deadline
        )

    from qcore.replica.leadership import Leadership

    before, after = with_client(endpoints, timeout, work, admin=True)
    show(
        output,
        {"from": before, "to": after.leader_id, "term": after.term},
        text=f"node {to} leads already, in term {after.term}"
        if before == to
        else f"node {after.leader_id} leads in term {after.term}; before it was node {before}",
    )


async def _transfer_and_confirm(
    client: Client, to: int | None, term: int, deadline: float
) -> Leadership:
    """Request the transfer. If the response leaves the outcome unknown, poll the cluster until the deadline.

    Args:
        client: connected to the cluster.
        to: the target, or None.
        term: the term of the current leader.
        deadline: of the clock `time.monotonic`.

    Raises:
        TransferFailed: another node than the target leads.
        OutcomeUnknown: no new leader was seen before the deadline.
    """
    from qcore.errors import OutcomeUnknown, TransferFailed, TransferUnknown

    left_s = max(0.0, deadline - time.monotonic())
    unknown: OutcomeUnknown
    try:
        async with asyncio.timeout(left_s):
            moved = await client.transfer_leader(to)
        if moved is not None:
            return moved
        unknown = TransferUnknown(
            "the leadership moved, but the new leader is not known: check which node leads"
        )
    except OutcomeUnknown as error:
        unknown = error
    except TimeoutError:
        unknown = TransferUnknown(
            "the leader did not answer in time, and may still transfer the leadership: check which node leads"
        )
    led = await _leader_after_term(client, term, deadline)
    if led is None:
        raise unknown
    if to not in (None, led.leader_id):
        raise TransferFailed(
            f"node {led.leader_id} leads in term {led.term}, and not node {to}: transfer again",
            led.leader_id,
            led.term,
        )
    return led


async def _leader_after_term(client: Client, term: int, deadline: float) -> Leadership | None:
    """The leader of a later term; None if no such leader is seen before the deadline."""
    from qcore.errors import QcoreError
    from qcore.replica.leadership import Leadership

    while (left_s := deadline - time.monotonic()) > 0:
        # There may be no leader, or no reachable node, at this moment.
        with contextlib.suppress(QcoreError, TimeoutError):
            async with asyncio.timeout(left_s):
                metrics = await client.leader_metrics()
            if metrics["current_term"] > term:
                return Leadership(metrics["id"], metrics["current_term"])
        await asyncio.sleep(_POLL_INTERVAL_S)
    return None
