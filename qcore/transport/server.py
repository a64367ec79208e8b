"""The listening side: WebSocket and HTTP on one port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qcore.errors import QcoreError, TransportError
from qcore.transport.codec import Codec
from qcore.transport.limits import TransportLimits
from qcore.transport.wire import Hello, HelloReply


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


class ServerConnection:
    """One accepted WebSocket connection.

    Attributes:
        connection_id: unique within this process.
        remote: `host:port` of the other end.
        peer: who it is, once its `Hello` was accepted; None for a client.
    """

    connection_id: int
    remote: str
    peer: PeerIdentity | None

    @property
    def is_open(self) -> bool:
        raise NotImplementedError

    def send(self, message: object) -> None:
        """Queue a message of the codec; goes out at the end of this turn of the event loop.

        On a connection that is closed already it does nothing.

        Raises:
            qcore.errors.LocalProtocolError: the message cannot be encoded.
        """
        raise NotImplementedError

    def send_encoded(self, envelope: bytes) -> None:
        """Queue an envelope that is JSON already (`encode_reply`)."""
        raise NotImplementedError

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then close; the reason is clipped to what a close frame holds."""
        raise NotImplementedError


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


class Server:
    """Listens for WebSocket connections (on `/` and `/ws`) and plain HTTP GETs.

    Args:
        codec: the messages understood.
        handler: who handles them.
        limits: sizes, times and numbers of connections.
    """

    def __init__(
        self, codec: Codec, handler: ServerHandler, limits: TransportLimits | None = None
    ) -> None:
        self.stats = ServerStats()
        raise NotImplementedError

    async def start(self, host: str, port: int) -> str:
        """Listen, and return the address `host:port` (the port chosen, if 0 was given).

        Raises:
            TransportError: the address cannot be bound.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop listening, close every connection with 1001, and wait until they are gone."""
        raise NotImplementedError

    def connections(self) -> list[ServerConnection]:
        """The open WebSocket connections, oldest first."""
        raise NotImplementedError


__all__ = [
    "HttpResponse",
    "PeerIdentity",
    "QcoreError",
    "Server",
    "ServerConnection",
    "ServerHandler",
    "ServerStats",
]
