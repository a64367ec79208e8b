"""Sends one request of a client with the trace context of its span."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.trace_context import RequestTracer


async def traced_request(
    tracer: RequestTracer,
    connection: ClientConnection,
    name: str,
    fields: Mapping[str, JsonValue],
    timeout_s: float,
) -> dict[str, JsonValue]:
    """The response to a request, which is a span.

    Args:
        tracer: makes the span.
        connection: the connection to the node.
        name, fields, timeout_s: see `ClientConnection.request`.

    Raises:
        QcoreError: as `ClientConnection.request`.
    """
    span, failure = tracer.begin(name, connection.remote), None
    try:
        return await connection.request(
            name, fields, timeout_s=timeout_s, traceparent=span.traceparent
        )
    except BaseException as error:
        failure = error
        raise
    finally:
        span.end(failure)
