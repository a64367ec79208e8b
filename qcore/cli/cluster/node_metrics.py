"""Fetches the metrics objects of several nodes concurrently, and finds the node that knows most."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qcore.cli.clients.asked import Asked
from qcore.cli.clients.connection_options import credentials, tls_files
from qcore.cli.next_steps import add_next_step
from qcore.errors import PermissionDenied, QcoreError, TransportError, Unauthenticated

if TYPE_CHECKING:
    from qcore.client.client import Client

Metrics = Mapping[str, Any]
MetricsOrError = Metrics | QcoreError


async def metrics_of_all(endpoints: list[str], timeout_s: float) -> list[MetricsOrError]:
    """Fetch the metrics object of each node, or the error, in the order of the endpoints."""
    from qcore.client.client import Client

    Asked.add(endpoints)

    async def fetch(client: Client, endpoint: str) -> MetricsOrError:
        try:
            return await client.get_metrics(endpoint)
        except QcoreError as error:
            return add_next_step(error)

    async with Client(
        endpoints,
        attempt_timeout_s=timeout_s,
        admin=True,
        tls=tls_files(),
        credentials=credentials(),
    ) as client:
        return await asyncio.gather(*(fetch(client, endpoint) for endpoint in endpoints))


def successful(responses: Sequence[MetricsOrError]) -> list[Metrics]:
    """The metrics objects among the responses."""
    return [response for response in responses if not isinstance(response, QcoreError)]


def is_denied(error: QcoreError) -> bool:
    """Whether the node answered, and the user may not see its metrics."""
    return isinstance(error, PermissionDenied | Unauthenticated)


def error_of_all(responses: Sequence[MetricsOrError]) -> QcoreError | None:
    """The error of a command if no node gave metrics, preferably that of a node that answered; else None."""
    errors = [response for response in responses if isinstance(response, QcoreError)]
    if len(errors) < len(responses):
        return None
    return next((error for error in errors if not isinstance(error, TransportError)), errors[0])


def best_informed(metrics: Sequence[Metrics]) -> Metrics:
    """The metrics object of a leader, or else of the node with the highest commit index."""
    return max(metrics, key=lambda each: (each["state"] == "Leader", each["qcore"]["commit_index"]))
