"""`ConnectionOwner`: what an accepted connection needs from its server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from websockets.http11 import Request

from qcore.runtime.interface import Runtime
from qcore.transport.codec.codec import Codec
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.limits import TransportLimits
from qcore.transport.server.client_memory import ClientMemory
from qcore.transport.server.handler import HttpResponse, MessageHandler, ServerHandler, ServerStats
from qcore.transport.server.turns import TurnScheduler

#: The connections of the server.
C = TypeVar("C", contravariant=True)


class ConnectionOwner(Protocol[C]):
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
        held: holds back what is sent during a step of the node.
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
    held: HeldSends

    def connection_made(self, connection: C) -> None:
        """Add an accepted TCP connection."""

    def refusal(self, connection: C, request: Request, *, is_page: bool) -> HttpResponse | None:
        """The response to a request that is allowed to no user; None if it is allowed to some."""

    def is_open_page(self, request: Request) -> bool:
        """Whether everyone may request this page."""
        ...

    def no_room(self, connection: C) -> HttpResponse | None:
        """The response to a request for a WebSocket connection for which there is no room; None if there is."""

    def page(self, connection: C, request: Request) -> HttpResponse:
        """The response to a request for a page."""
        ...

    def connection_opened(self, connection: C) -> None:
        """Note that the WebSocket handshake is complete."""

    def peer_accepted(self, connection: C, node_id: int) -> None:
        """Note that the connection's `Hello` was accepted."""

    def connection_closed(self, connection: C) -> None:
        """Forget a TCP connection that has ended."""
