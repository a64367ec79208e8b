"""`ConnectionOwner`: what an accepted connection needs from its server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from qcore.runtime.interface import Runtime
from qcore.transport.codec.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.server.client_memory import ClientMemory
from qcore.transport.server.handler import HttpResponse, MessageHandler, ServerHandler, ServerStats
from qcore.transport.server.turns import TurnScheduler

if TYPE_CHECKING:
    from qcore.transport.server.accepted_connection import AcceptedConnection


class ConnectionOwner(Protocol):
    """What a connection needs from its server.

    Attributes:
        codec, handler, limits: the server's.
        requests, peer_requests: handlers of the messages of a client, and of a peer, by class.
        counts: the server's counters, which the connections increment.
        turns: shares the event loop among the clients.
        memory: counts the memory of the clients' connections.
        connection_ids: the ids of the next connections.
        runtime: the world that the server runs in.
        peers_need_certificates: whether a peer is accepted only with a verified certificate.
    """

    codec: Codec
    handler: ServerHandler
    limits: TransportLimits
    requests: dict[type, MessageHandler]
    peer_requests: dict[type, MessageHandler]
    counts: ServerStats
    turns: TurnScheduler
    memory: ClientMemory
    connection_ids: Iterator[int]
    runtime: Runtime
    peers_need_certificates: bool

    def connection_made(self, connection: AcceptedConnection) -> None:
        """Add an accepted TCP connection."""

    def refusal(
        self, connection: AcceptedConnection, origins: Sequence[str]
    ) -> HttpResponse | None:
        """The response to a request for a WebSocket connection that is not allowed; None if it is."""

    def connection_opened(self, connection: AcceptedConnection) -> None:
        """Note that the WebSocket handshake is complete."""

    def peer_accepted(self, connection: AcceptedConnection, node_id: int) -> None:
        """Note that the connection's `Hello` was accepted."""

    def connection_closed(self, connection: AcceptedConnection) -> None:
        """Forget a TCP connection that has ended."""
