"""`HostConnection`: a client's real connection to a simulated node, which knows how each of its requests was served."""

from __future__ import annotations

from typing import cast

from qcore.runtime.interface import Runtime
from qcore.sim.world.programs.sim_connection import SERVICE, SimConnection
from qcore.sim.world.whole.answers import Answers
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientWire
from qcore.transport.connection.outgoing import OutgoingConnection
from qcore.transport.limits import TransportLimits


class HostConnection(SimConnection):
    """A `ClientConnection` whose responses carry their `Service`.

    Args:
        wire: the WebSocket connection.

    Attributes:
        answers: what the checkers know about the answers.
    """

    answers: Answers

    def __init__(self, wire: ClientWire) -> None:
        super().__init__(wire)
        self._local = cast(OutgoingConnection, wire).local

    def received(self, envelope: object) -> bool:
        """See `ClientConnection.received`."""
        if isinstance(envelope, dict):
            for content in envelope.values():
                if isinstance(content, dict) and isinstance(content.get("id"), str):
                    service = self.answers.take(self._local, content["id"])
                    if service is not None:
                        content[SERVICE] = service
        return super().received(envelope)


async def connect_to_node(
    address: Address,
    answers: Answers,
    runtime: Runtime,
    *,
    timeout_s: float,
    limits: TransportLimits | None = None,
    admin: bool = False,
) -> HostConnection:
    """Open a connection; see `ClientConnection.connect`.

    Args:
        address, timeout_s, limits, admin, runtime: see there.
        answers: what the checkers know about the answers.

    Raises:
        TransportError: see there.
    """
    connection = await HostConnection.connect(
        address, timeout_s=timeout_s, limits=limits, admin=admin, runtime=runtime
    )
    assert isinstance(connection, HostConnection), "`connect` makes one of its class"
    connection.answers = answers
    return connection
