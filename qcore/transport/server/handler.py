"""What a server tells the program behind it, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qcore.errors import TransportError
from qcore.transport.wire import Hello, HelloReply

if TYPE_CHECKING:
    from qcore.transport.server.server_connection import ServerConnection


@dataclass(slots=True, frozen=True)
class PeerIdentity:
    """Who is at the other end, as said by its accepted `Hello`."""

    node_id: int
    cluster_id: str


@dataclass(slots=True, frozen=True)
class HttpResponse:
    """Answer to a plain HTTP GET."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


@dataclass(slots=True)
class ServerStats:
    """Counts since the start, and present numbers (the last three), for `/metrics`."""

    connections_accepted: int = 0
    connections_refused: int = 0
    http_requests: int = 0
    frames_received: int = 0
    messages_received: int = 0
    malformed_received: int = 0
    policy_violations: int = 0
    clients: int = 0
    peers: int = 0
    handshaking: int = 0


class ServerHandler(Protocol):
    """What a `Server` calls, on the event loop. Must be quick: never persist or apply inside."""

    def on_open(self, connection: ServerConnection) -> None:
        """A WebSocket connection was opened."""

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        """A peer introduces itself (the protocol version was checked already).

        Raises:
            QcoreError: refuse it: the text goes to the peer, and the connection is closed with 1008.
        """

    def on_message(self, connection: ServerConnection, message: object) -> None:
        """A message arrived: of the codec's registry, not malformed, allowed on this connection."""

    def on_close(self, connection: ServerConnection, error: TransportError | None) -> None:
        """The connection is gone; None after an orderly close."""

    def on_http(self, path: str) -> HttpResponse | None:
        """Answer `GET path` (without its query); None: 404."""
