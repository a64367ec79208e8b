"""`Server`: serves WebSocket and HTTP on one port, and bounds the number of connections of each kind."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
from collections.abc import Iterator
from functools import partial
from ssl import SSLContext
from typing import cast

from websockets.http11 import Request

from qcore.errors import TransportError
from qcore.runtime.interface import Listening, Runtime, TlsServer
from qcore.transport.address import Address
from qcore.transport.codec.codec import Codec
from qcore.transport.connection.held_sends import HeldSends
from qcore.transport.connection.outgoing import GOING_AWAY
from qcore.transport.limits import TransportLimits
from qcore.transport.server.accepted_connection import AcceptedConnection
from qcore.transport.server.client_memory import ClientMemory
from qcore.transport.server.handler import (
    HttpResponse,
    MessageHandler,
    PeerIdentity,
    Principal,
    ServerConnection,
    ServerHandler,
    ServerStats,
    user_of,
)
from qcore.transport.server.http_request import WEBSOCKET_PATHS, path_of, plain_response
from qcore.transport.server.origins import AllowedOrigins
from qcore.transport.server.page_guard import PageGuard
from qcore.transport.server.page_origins import PageOrigins
from qcore.transport.server.turns import TurnScheduler

logger = logging.getLogger("qcore.transport")

#: The most connections kept for one peer. A node needs one, and has two briefly while it reconnects.
_CONNECTIONS_PER_PEER = 4

_TRY_AGAIN_LATER = 1013


class Server:
    """Listens for WebSocket connections (on `/` and `/ws`) and plain HTTP GETs.

    Each kind of connection has a bound, so a flood of one kind does not shut out the others. Beyond the bounds:

    - unfinished HTTP requests: the oldest is dropped;
    - clients: the new one gets HTTP 503. But if its user is known, it takes the place of one whose user is not. Once
      there are users, any takes the place of one that has not authenticated within the login timeout;
    - announced admin connections: the one that has been idle for longest is dropped, first those without a user;
    - announced peers without an accepted `Hello`: the oldest is dropped;
    - accepted connections of one peer: the oldest is closed.

    Args:
        codec: the messages that the server understands.
        handler: handles the messages.
        limits: sizes, times and numbers of connections.
        origins: the web pages that may open a WebSocket connection, besides those of the nodes (see `PageOrigins`).
            Others get HTTP 403.
        pages: decides who may request the HTTP pages. Default: everyone. Then pages of this node may not connect.
        runtime: the world that the server runs in.
        tls: makes all connections TLS connections.
        peers_need_certificates: whether a peer's `Hello` is accepted only if the connection has a certificate that the
            context of `tls` has verified.
        held: holds back what is sent during a step of the node; None to hold back nothing.

    Attributes:
        page_origins: decides which web pages may open a WebSocket connection.
        requests: handlers of the messages of a client, by class.
        peer_requests: handlers of the messages of a peer, by class: those of a client, and more.
        counts: the counters behind `stats`.
        turns: shares the event loop among the clients.
        memory: counts the memory of the clients' connections.
        connection_ids: the ids of the next connections.
    """

    def __init__(
        self,
        codec: Codec,
        handler: ServerHandler,
        limits: TransportLimits | None = None,
        origins: AllowedOrigins | None = None,
        *,
        runtime: Runtime,
        pages: PageGuard | None = None,
        tls: SSLContext | None = None,
        peers_need_certificates: bool = False,
        held: HeldSends | None = None,
    ) -> None:
        self.codec = codec
        self.handler = handler
        self.limits = limits or TransportLimits()
        self._pages = pages
        self.page_origins = PageOrigins(
            origins or AllowedOrigins(),
            pages,
            uses_tls=tls is not None,
            members=handler.member_addresses,
        )
        self.requests = handler.requests
        self.peer_requests = {**handler.requests, **handler.peer_requests}
        self.counts = ServerStats()
        self.turns = TurnScheduler()
        self.memory = ClientMemory(lambda: self.limits, self.counts)
        self.connection_ids: Iterator[int] = itertools.count(1)
        self.runtime = runtime
        self._tls = tls
        self.peers_need_certificates = peers_need_certificates
        self.held = held or HeldSends()
        self._listener: Listening | None = None
        # Dictionaries as ordered sets: oldest first.
        self._handshaking: dict[AcceptedConnection, None] = {}
        self._clients: dict[AcceptedConnection, None] = {}
        self._admins: dict[AcceptedConnection, None] = {}
        self._announced: dict[AcceptedConnection, None] = {}
        self._peers: dict[int, dict[AcceptedConnection, None]] = {}
        self._stopping = False
        self._all_gone = asyncio.Event()

    @property
    def stats(self) -> ServerStats:
        """The counters since the start, and the current numbers."""
        self.counts.clients = len(self._clients) + len(self._admins) + len(self._announced)
        self.counts.peers = sum(map(len, self._peers.values()))
        self.counts.handshaking = len(self._handshaking)
        return self.counts

    async def start(self, address: Address) -> str:
        """Listen. Returns the address as text, with the chosen port if the port was 0.

        Raises:
            TransportError: there is no such host, or the address cannot be bound; the text states which.
        """
        where = f"cannot listen on {address}"
        try:
            addresses = await self.runtime.resolve(address.host, self.limits.handshake_timeout_s)
        except TransportError as error:
            raise TransportError(
                f"{where}: {error}; give an IP address of this machine, or a name that it knows"
            ) from None
        limits = self.limits
        self._listener = self.runtime.listener(
            # It has all methods of a protocol of asyncio.
            lambda: cast(asyncio.Protocol, AcceptedConnection(self)),
            self._count_not_accepted,
            None
            if self._tls is None
            else TlsServer(self._tls, limits.handshake_timeout_s, limits.max_handshakes),
        )
        try:
            bound = self._listener.start(addresses, address.port)
        except OSError as error:
            raise TransportError(f"{where}: {error}; {_advice(error)}") from None
        return str(Address(address.host, bound))

    async def stop(self) -> None:
        """Stop listening, close every connection with 1001, and wait until they are gone."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        for connection in self.connections():
            connection.close(GOING_AWAY, "the server stops")
        for connection in [*self._handshaking]:
            connection.abort("the server stops")
        self._check_all_gone()
        # Each connection has a deadline for the closing handshake, so this ends.
        await self._all_gone.wait()

    def connections(self) -> list[AcceptedConnection]:
        """The open WebSocket connections, oldest first."""
        found = [*self._clients, *self._admins, *self._announced]
        for connections in self._peers.values():
            found += connections
        return sorted((each for each in found if each.is_open), key=lambda each: each.connection_id)

    # --- called by the connections ----------------------------------------------------------------

    def connection_made(self, connection: AcceptedConnection) -> None:
        """Add an accepted TCP connection."""
        self.counts.connections_accepted += 1
        self._handshaking[connection] = None
        if self._stopping:
            connection.abort("the server stops")
        elif len(self._handshaking) > self.limits.max_handshakes:
            self.counts.connections_refused += 1
            oldest = next(iter(self._handshaking))
            del self._handshaking[oldest]
            oldest.abort("too many unfinished handshakes")

    def page(self, connection: AcceptedConnection, request: Request) -> HttpResponse:
        """The response to a request for a page."""
        return plain_response(path_of(request), partial(self.handler.on_http, connection))

    def refusal(
        self, connection: AcceptedConnection, request: Request, *, is_page: bool
    ) -> HttpResponse | None:
        """The response to a request that is allowed to no user; None if it is allowed to some.

        It comes before the password is checked: otherwise each web page could try passwords, and use up the attempts of
        its visitor's address.
        """
        path = path_of(request)
        if is_page:
            refusal = None if self._pages is None else self._pages.refusal(path, request.headers)
            if refusal is not None:
                self.counts.policy_violations += 1
                text = refusal.text.rstrip()
                logger.warning("%s may not request a page: %s", connection.remote, text)
            return refusal
        if path not in WEBSOCKET_PATHS:
            where = " or ".join(WEBSOCKET_PATHS)
            return HttpResponse(404, f"WebSocket connections go to {where}\n")
        problem = self.page_origins.problem(request.headers)
        if problem:
            self.counts.policy_violations += 1
            logger.warning("%s is a web browser: %s", connection.remote, problem)
            return HttpResponse(403, f"{problem}\n")
        return None

    def is_open_page(self, request: Request) -> bool:
        """Whether everyone may request this page, so that a password is not even checked."""
        return self._pages is not None and self._pages.is_open(path_of(request))

    def no_room(self, connection: AcceptedConnection) -> HttpResponse | None:
        """The response to a request for a WebSocket connection for which there is no room; None if there is."""
        if not self._admit(connection):
            return HttpResponse(503, "too many connections: try again later\n")
        return None

    def _admit(self, connection: AcceptedConnection) -> bool:
        """Whether there is room for one more. Makes room among admin connections, announced peers, and for users."""
        if connection.admin:
            while len(self._admins) >= self.limits.reserved_for_admin:
                if not self._give_place_to(connection, self._admins):
                    return False
            return not self._stopping
        if connection.announced_as_peer:
            while len(self._announced) >= self.limits.reserved_for_peers:
                oldest = next(iter(self._announced))
                del self._announced[oldest]
                oldest.abort("too many connections that announced a peer and sent no Hello")
                self.counts.connections_refused += 1
            return not self._stopping
        if self._stopping:
            self.counts.connections_refused += 1
            return False
        if len(self._clients) < self.limits.max_clients:
            return True
        if connection.principal is None:
            return self._take_overdue_place()
        return self._give_place_to(connection, self._clients)

    def _take_overdue_place(self) -> bool:
        """Drop the oldest client that should have authenticated by now; False if there is none.

        So strangers cannot hold all places against browsers, which authenticate after the connection is open.
        """
        self.counts.connections_refused += 1
        if not self.handler.needs_user():
            return False
        opened_before = asyncio.get_running_loop().time() - self.limits.login_timeout_s
        for each in self._clients:
            if each.opened_at > opened_before:
                break
            if each.principal is None:
                del self._clients[each]
                each.abort(
                    "it has not authenticated in time, and another connection took this place"
                )
                return True
        return False

    def _give_place_to(
        self, connection: AcceptedConnection, group: dict[AcceptedConnection, None]
    ) -> bool:
        """Drop one connection of a full group for another; False if it must not have the place.

        Connections without a user go first, so that strangers keep no users out. Connections with a request in
        progress go last. A client never takes the place of one with a user.
        """
        self.counts.connections_refused += 1
        idlest = min(
            group,
            key=lambda each: (each.principal is not None, each.unanswered > 0, each.last_request),
        )
        if idlest.principal is not None and (connection.principal is None or not connection.admin):
            return False
        del group[idlest]
        idlest.abort("another connection took this place")
        return True

    def connection_opened(self, connection: AcceptedConnection) -> None:
        """Note that the WebSocket handshake is complete."""
        self._handshaking.pop(connection, None)
        self._group_of(connection)[connection] = None

    def _group_of(self, connection: AcceptedConnection) -> dict[AcceptedConnection, None]:
        if connection.announced_as_peer:
            return self._announced
        return self._admins if connection.admin else self._clients

    def peer_accepted(self, connection: AcceptedConnection, node_id: int) -> None:
        """Note that the connection's `Hello` was accepted. Its memory no longer counts as a client's."""
        self.memory.forget(connection)
        self._group_of(connection).pop(connection, None)
        connections = self._peers.setdefault(node_id, {})
        connections[connection] = None
        if len(connections) > _CONNECTIONS_PER_PEER:
            oldest = next(iter(connections))
            del connections[oldest]
            oldest.close(_TRY_AGAIN_LATER, "superseded by newer connections of the same node")

    def connection_closed(self, connection: AcceptedConnection) -> None:
        """Forget a TCP connection that has ended."""
        self.memory.forget(connection)
        for group in (self._handshaking, self._clients, self._admins, self._announced):
            group.pop(connection, None)
        if connection.peer is not None:
            connections = self._peers.get(connection.peer.node_id, {})
            connections.pop(connection, None)
            if not connections:
                self._peers.pop(connection.peer.node_id, None)
        self._check_all_gone()

    def _count_not_accepted(self) -> None:
        self.counts.connections_refused += 1

    def _check_all_gone(self) -> None:
        if self._stopping and not (
            self._handshaking or self._clients or self._admins or self._announced or self._peers
        ):
            self._all_gone.set()


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another process uses the port: stop it, or choose another port"
        case errno.EADDRNOTAVAIL | None:
            return "the host is not an address of this machine: choose one that is"
        case errno.EACCES:
            return "this user may not listen on that port: choose one from 1024 on"
        case _:
            return "choose another address"


__all__ = [
    "HttpResponse",
    "MessageHandler",
    "PeerIdentity",
    "Principal",
    "Server",
    "ServerConnection",
    "ServerHandler",
    "ServerStats",
    "user_of",
]
