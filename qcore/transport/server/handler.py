"""The interface between a server and its program: the handler, the connection as the handler sees it, the counters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from qcore.compiled_build import register_copies
from qcore.errors import RemoteProtocolError, TransportError
from qcore.transport.wire import (
    ASKING_ROLE,
    PEER_ROLE,
    PROTOCOL_VERSION,
    Hello,
    HelloProof,
    HelloReply,
)


@dataclass(frozen=True)
class PeerIdentity:
    """The node at the other end, as its accepted `Hello` names it."""

    node_id: int
    cluster_id: str


@dataclass(frozen=True)
class Principal:
    """The user of a connection, as a token or a password has proved it. Whether it is still valid is another question.

    Attributes:
        user: its name.
        epoch: the epoch of the user at the time of the proof; see `qcore.replica.access.access_records.User`.
        expires_us: when the proof ends, by the cluster clock, or for a recovery token by the wall clock.
        issuer, issuer_key: the member whose key signed the token, and this key. If the member is removed, the proof
            ends.
        is_recovery: whether the proof is a recovery token, which no epoch ends.
    """

    user: str
    epoch: int
    expires_us: int
    issuer: int
    issuer_key: str
    is_recovery: bool = False


class ServerConnection(Protocol):
    """One accepted WebSocket connection, as a handler sees it.

    Attributes:
        connection_id: unique at this server.
        remote: `host:port` of the other end.
        admin: whether the other end announced an admin connection.
        watches: how many watches the handler keeps for the connection. With any, it is not closed as idle.
        principal: the user that the handler has authenticated; None for none.
        failed_logins: how many wrong tokens and passwords the handler has counted.
        message_bytes: the size of the message that is being handled: its share of its frame, bytes.
    """

    connection_id: int
    message_bytes: int
    remote: str
    admin: bool
    watches: int
    principal: Principal | None
    failed_logins: int

    @property
    def peer(self) -> PeerIdentity | None:
        """The node at the other end, once its `Hello` is accepted; None for a client."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and received."""
        ...

    def send(self, message: object) -> None:
        """Queue a message of the codec. It is sent at the end of this turn of the event loop.

        Does nothing on a closed connection.

        Raises:
            qcore.errors.LocalProtocolError: the message cannot be encoded, or is too large.
        """

    def send_encoded(self, envelope: bytes) -> None:
        """Queue an encoded message.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is larger than a frame may be.
        """

    def push(self, envelope: bytes, *, last: bool = False) -> bool:
        """Queue an encoded message that is no response. Returns False if there is no room for it.

        There is none if more than `max_watch_queue_bytes` would wait, or if the other end is among those that hold most
        while all pushed messages together hold too much. The latter does not matter for a small message, the `last`.

        Raises:
            qcore.errors.LocalProtocolError: the envelope is larger than a frame may be.
        """
        ...

    def when_room(self, act: Callable[[], None]) -> None:
        """Call `act` once, later, when the other end has read most of what waits; not after the connection's end."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what is queued, then close. A second call does nothing."""

    def abort(self, reason: str) -> None:
        """Drop the connection immediately, without a closing handshake."""


def user_of(connection: ServerConnection) -> str:
    """The name of the connection's user; empty for none."""
    return "" if connection.principal is None else connection.principal.user


@dataclass(frozen=True)
class HttpResponse:
    """Every response of the server to an HTTP request, except the one that opens a WebSocket connection.

    Attributes:
        status: the HTTP status.
        text: the body, sent as UTF-8.
        content_type: of the body.
        headers: further headers.
    """

    status: int
    text: str
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ServerStats:
    """Counters since the start, and three current numbers (the last fields), for `/metrics`."""

    connections_accepted: int = 0
    connections_refused: int = 0
    frames_received: int = 0
    malformed_received: int = 0
    policy_violations: int = 0
    clients: int = 0
    peers: int = 0
    handshaking: int = 0


#: Handles a message of one class. `Any`: each handler of a table takes the class that it is listed under.
MessageHandler = Callable[[ServerConnection, Any], None]


class ServerHandler(Protocol):
    """What a `Server` calls on the event loop. Every method must be quick: it must neither write to disk nor apply.

    A message is passed to the handler of its class. The tables do not change once the server has them.

    Attributes:
        requests: handlers of the messages that any client may send.
        peer_requests: handlers of the messages that only a peer may send, once its `Hello` is accepted.
    """

    requests: dict[type, MessageHandler]
    peer_requests: dict[type, MessageHandler]

    def on_request(
        self,
        connection: ServerConnection,
        authorization: Sequence[str],
        answer: Callable[[HttpResponse | None], None],
    ) -> None:
        """An HTTP request arrived, for a page or a WebSocket connection.

        Args:
            connection: it sends and receives nothing until the answer.
            authorization: the headers `Authorization` of the request.
            answer: call it once, now or later: with the response if the request is rejected, else with None.
        """

    def needs_user(self) -> bool:
        """Whether a client has to authenticate: a client that does not is worth less than others."""
        ...

    def member_addresses(self) -> Iterable[str]:
        """The addresses `host:port` of the members, whose web pages may connect."""
        ...

    def on_open(self, connection: ServerConnection) -> None:
        """A WebSocket connection was opened."""

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        """A peer introduces itself. The server has checked the protocol version.

        If the reply has a signature, the peer is accepted only by `on_proof`; without one it is accepted now. A node
        with the role `asking` is never accepted.

        Raises:
            QcoreError: to reject the peer. The peer gets the text, and the connection is closed with 1008.
        """

    def on_proof(
        self, connection: ServerConnection, hello: Hello, reply: HelloReply, proof: HelloProof
    ) -> None:
        """The node that sent this `Hello`, and got this reply, proves who it is.

        Raises:
            QcoreError: to reject the peer, as for `on_hello`.
        """

    def on_close(self, connection: ServerConnection, error: TransportError | None) -> None:
        """The connection ended; `error` is None after an orderly close."""

    def on_http(self, connection: ServerConnection, path: str) -> HttpResponse | None:
        """The response to `GET path` (without the query); None if there is no such page."""


def check_hello(hello: Hello, transport: asyncio.Transport | None, needs_certificate: bool) -> None:
    """Check that both ends use the same version of the protocol, and known roles.

    Args:
        hello: the message.
        transport: of its connection.
        needs_certificate: whether the connection must have a certificate, which TLS has then verified.

    Raises:
        RemoteProtocolError: another protocol version, or an unknown role, or no certificate.
    """
    if needs_certificate and transport is not None and not transport.get_extra_info("peercert"):
        raise RemoteProtocolError(
            "a peer needs a certificate that the authorities of this cluster signed: start the node with --tls-cert "
            "and --tls-ca"
        )
    if hello.protocol != PROTOCOL_VERSION:
        raise RemoteProtocolError(
            f"protocol version {hello.protocol} is not supported: this node uses version {PROTOCOL_VERSION}"
        )
    if hello.role not in (PEER_ROLE, ASKING_ROLE):
        raise RemoteProtocolError(f"role {hello.role[:40]!r} is unknown: a node sends 'peer'")


register_copies(globals())
