"""`qcore leader transfer`: hand leadership over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    split_endpoints,
)

if TYPE_CHECKING:
    from qcore.client.client import QcoreClient
    from qcore.replica.leadership import Leadership

#: The pause between two looks at who leads.
_POLL_INTERVAL_S: Final = 0.1

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
    """Hand leadership to another voter and wait until it leads.

    Exit code 4: it did not move, or not to that voter, and by this command it will not. Exit code 6: it may still move;
    `qcore cluster status` shows who leads.
    """
    from qcore.cli.runner import run
    from qcore.client.client import QcoreClient

    targets = split_endpoints(endpoints)

    async def work() -> tuple[int, Leadership]:
        deadline = time.monotonic() + timeout
        async with QcoreClient(targets, timeout_s=timeout, admin=True) as client:
            before = await client.leader_metrics()
            return before["id"], await _transfer_and_confirm(
                client, to, before["current_term"], deadline
            )

    before, after = run(work())
    if output is OutputFormat.json:
        print(json.dumps({"from": before, "to": after.leader_id, "term": after.term}))
    else:
        print(f"node {after.leader_id} leads in term {after.term}; before it was node {before}")


async def _transfer_and_confirm(
    client: QcoreClient, to: int | None, term: int, deadline: float
) -> Leadership:
    """Ask for the transfer. If the answer does not tell what became of it, look at the cluster until the deadline.

    Args:
        client: of the cluster.
        to: as the command line says.
        term: in which the present leader leads.
        deadline: by `time.monotonic`.
    """
    from qcore.errors import OutcomeUnknown, TransferFailed, TransferUnknown

    left_s = max(0.0, deadline - time.monotonic())
    unknown: OutcomeUnknown
    try:
        async with asyncio.timeout(left_s):
            moved = await client.transfer_leader(to)
        if moved is not None:
            return moved
        unknown = TransferUnknown("the leadership moved, and who leads now is not known: look")
    except OutcomeUnknown as error:
        unknown = error
    except TimeoutError:
        unknown = TransferUnknown(
            "the leader did not answer in time, and may still hand over: look who leads"
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


async def _leader_after_term(client: QcoreClient, term: int, deadline: float) -> Leadership | None:
    """Who leads in a term after this one; None if nobody is seen to until the deadline."""
    from qcore.errors import QcoreError
    from qcore.replica.leadership import Leadership

    while (left_s := deadline - time.monotonic()) > 0:
        with contextlib.suppress(
            QcoreError, TimeoutError
        ):  # nobody leads, or can be reached, at this moment
            async with asyncio.timeout(left_s):
                metrics = await client.leader_metrics()
            if metrics["current_term"] > term:
                return Leadership(metrics["id"], metrics["current_term"])
        await asyncio.sleep(_POLL_INTERVAL_S)
    return None
