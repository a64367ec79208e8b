"""`WireClient`: sends the requests of a built-in workload over real connections, one to each node.

`qcore.sim.workload.sim_client.SimClient` decides where a request goes and whether it is tried again. This class does
what a program without `qcore.Client` would do with `ClientConnection`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from pydantic import JsonValue

from qcore.errors import (
    ConnectionLost,
    ErrorReply,
    OutcomeUnknown,
    Overloaded,
    RequestNotReceived,
    TransportError,
    from_wire,
)
from qcore.replica.messages import RequestKind
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.sim_client import RequestMessage, ResponseMessage
from qcore.sim.world.hosts.host import Host
from qcore.sim.world.programs.frames import Service
from qcore.sim.world.programs.sim_connection import CURRENT_OPERATION
from qcore.sim.world.whole.answers import Answers
from qcore.sim.world.whole.host_connection import HostConnection, connect_to_node
from qcore.transport.address import Address

#: How long an attempt to connect may take, seconds.
_CONNECT_TIMEOUT_S: Final = 2.0
#: The client has its own timeouts, so the connection need not be exact.
_EXTRA_TIMEOUT_S: Final = 1.0

_CONSISTENCY: Final[dict[RequestKind, JsonValue]] = {
    "read": "linearizable",
    "lease_read": "lease",
    "follower_read": "follower",
}

Fields = Mapping[str, JsonValue]


class WireClient:
    """The connections of one client.

    Args:
        host: the client's computer; its process runs.
        addresses: the nodes.
        answers: what the checkers know about the answers.
        deliver: called with the node and its response.
    """

    def __init__(
        self,
        host: Host,
        addresses: Mapping[int, str],
        answers: Answers,
        deliver: Callable[[int, ResponseMessage], None],
    ) -> None:
        self._host = host
        self._addresses = {node: Address.parse(text) for node, text in addresses.items()}
        self._answers = answers
        self._deliver = deliver
        self._connections: dict[int, asyncio.Future[HostConnection]] = {}

    def send(self, node: int, request: RequestMessage) -> None:
        """Send a request to a node. At most one response follows."""
        self._host.loop.create_task(self._perform(node, request))

    async def _perform(self, node: int, request: RequestMessage) -> None:
        op = request.op
        self._answers.sent(node, op.payload, op.client, op.op_id)
        try:
            await self._perform_operation(node, request)
        finally:
            self._answers.ended(node, op.payload, op.client, op.op_id)

    async def _perform_operation(self, node: int, request: RequestMessage) -> None:
        op = request.op
        response = ResponseMessage(op, request.attempt)
        name, fields = message_of(op, request.max_staleness_ms)
        timeout_s = request.timeout_ms / 1000 + _EXTRA_TIMEOUT_S
        served = _Served(response)
        CURRENT_OPERATION.set(served)
        try:
            connection = await self._connected(node)
            content = await connection.request(name, fields, timeout_s=timeout_s)
        except (ErrorReply, Overloaded) as error:
            response.error = error
        except ConnectionLost:
            pass  # neither a result nor an error: whether it had an effect is unknown
        except OutcomeUnknown:
            return  # the client has stopped waiting
        except (RequestNotReceived, TransportError):
            response.connection_refused = True
        else:
            take_content(response, content)
        self._deliver(node, response)

    async def _connected(self, node: int) -> HostConnection:
        """A connection to the node. The requests that wait for it share the attempt.

        Raises:
            TransportError: there is none.
        """
        while True:
            dial = self._connections.get(node)
            if dial is None or (dial.done() and not _is_open(dial)):
                dial = self._connections[node] = self._host.loop.create_task(self._dial(node))
            connection = await asyncio.shield(dial)
            if connection.is_open:
                return connection

    async def _dial(self, node: int) -> HostConnection:
        return await connect_to_node(
            self._addresses[node],
            self._answers,
            self._host.runtime,
            timeout_s=_CONNECT_TIMEOUT_S,
        )


class _Served:
    """Writes into a response how it was served; see `qcore.sim.world.programs.sim_connection`."""

    def __init__(self, response: ResponseMessage) -> None:
        self._response = response

    def served(self, message: str, service: Service) -> None:
        """A node has answered."""
        response = self._response
        response.index, response.term = service.index, service.term
        response.served_by, response.served_us = service.node, service.at_us

    def name_of(self, message: str) -> tuple[int, int] | None:
        """See `ServedOperation`. `Answers` knows the operations of these clients."""
        return None


def _is_open(dial: asyncio.Future[HostConnection]) -> bool:
    return not dial.cancelled() and dial.exception() is None and dial.result().is_open


def message_of(op: ClientOperation, max_staleness_ms: int) -> tuple[str, Fields]:
    """The message of the wire protocol for an operation: its name and fields."""
    if op.request == "write":
        return "Perform", {"request": {"Write": op.payload}}
    if op.request == "session":
        kind, *values = json.loads(op.payload)
        if kind == "open":
            return "OpenSession", {"lifetime_ms": values[0]}
        session, sequence, acknowledged, command = values
        use = {"id": session, "sequence": sequence, "acknowledged": acknowledged}
        return "Perform", {"request": {"Write": command}, "session": use}
    if op.request == "stale_read":
        consistency: JsonValue = {"stale": max_staleness_ms}
    else:
        consistency = _CONSISTENCY[op.request]
    return "Perform", {"request": {"Read": op.payload}, "consistency": consistency}


def take_content(response: ResponseMessage, content: Mapping[str, Any]) -> None:
    """Write the result or the error of a node's message into a response."""
    outcome = content["response"]
    for name in ("Write", "Read"):
        if name in outcome:
            body = outcome[name]
            if body["error"] is None:
                response.result = body["response"]
            else:
                response.error = from_wire(body["error"], body.get("detail"))
            return
    if "Ok" in outcome:
        response.result = str(outcome["Ok"])
    else:
        response.error = from_wire(cast(str, outcome["Err"]), content.get("detail"))
