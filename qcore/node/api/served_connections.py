"""`ServedConnections`: what a node does with the connections, messages and HTTP requests that arrive at its server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from qcore.errors import TransportError
from qcore.node.access.node_access import NodeAccess
from qcore.node.api import http_pages
from qcore.node.api.activity_requests import ActivityRequestHandler, ActivityView
from qcore.node.api.client_requests import RequestHandler
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.peer_router import PeerRouter
from qcore.node.quotas.node_quotas import NodeQuotas
from qcore.transport.server.server import HttpResponse, ServerConnection
from qcore.transport.wire import Hello, HelloProof, HelloReply


class NodePages(http_pages.NodeView, ActivityView, Protocol):
    """What HTTP pages and `GetActivity` need from the node."""


class ServedConnections:
    """The `ServerHandler` of a node. The tables lead from the server straight to the parts that handle the messages.

    Args:
        requests: handles the messages of clients.
        peers: handles the messages of peers.
        pages: the contents of the HTTP pages and of `GetActivity`.
        log: gets a line for each lost connection, and has the newest events.
        access: decides which requests pass.
        quotas: limit how much each client sends.
    """

    def __init__(
        self,
        requests: RequestHandler,
        peers: PeerRouter,
        pages: NodePages,
        log: NodeLog,
        access: NodeAccess,
        quotas: NodeQuotas,
    ) -> None:
        self._access, self._gate = access, access.gate
        self._peers = peers
        self._watches = requests.watches
        self._watches.problem = self._gate.watch_problem
        if self._gate.is_recorded:
            requests.on_denied = requests.watches.on_denied = self._gate.denied
        self._pages = pages
        self._log = log
        self._quotas = quotas
        # The rates first: they cost least, and bound the attempts to guess a password.
        activity = ActivityRequestHandler(pages, log.activity, access.gate)
        handlers = {**requests.handlers, **activity.handlers}
        guarded = access.guarded(handlers, requests.perform_type)
        self.requests = quotas.limited(guarded, self._gate.current_user)
        self.peer_requests = peers.requests

    def tick(self) -> None:
        """Do what is due for users. Call it every second or so."""
        self._access.tick()
        self._watches.end_without_rights()

    def on_request(
        self,
        connection: ServerConnection,
        authorization: Sequence[str],
        answer: Callable[[HttpResponse | None], None],
    ) -> None:
        """See `ServerHandler`."""
        self._gate.on_request(connection, authorization, answer)

    def needs_user(self) -> bool:
        """See `ServerHandler`."""
        return self._gate.is_active

    def member_addresses(self) -> Iterable[str]:
        """See `ServerHandler`."""
        return [address for _, address in self._pages.core.membership.addresses]

    def on_open(self, connection: ServerConnection) -> None:
        """See `ServerHandler`."""
        self._log.debug("connection opened", remote=connection.remote)

    def on_hello(self, connection: ServerConnection, hello: Hello) -> HelloReply:
        """See `ServerHandler`."""
        return self._peers.on_hello(connection, hello)

    def on_proof(
        self, connection: ServerConnection, hello: Hello, reply: HelloReply, proof: HelloProof
    ) -> None:
        """See `ServerHandler`."""
        self._peers.on_proof(connection, hello, reply, proof)

    def on_close(self, connection: ServerConnection, error: TransportError | None) -> None:
        """See `ServerHandler`."""
        self._peers.on_close(connection)
        self._quotas.forget(connection)
        self._watches.connection_closed(connection)
        if error is not None:
            log = self._log.debug if connection.peer is None else self._log.info
            log("connection lost", remote=connection.remote, why=str(error))

    def on_http(self, connection: ServerConnection, path: str) -> HttpResponse | None:
        """See `ServerHandler`."""
        return self._gate.page_refusal(connection, path) or http_pages.respond(self._pages, path)
