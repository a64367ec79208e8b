"""The requests that a simulated node has accepted and not yet answered, from clients and from the timeline (admin)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qcore.replica.events import ClientRequest, Reply
from qcore.replica.request_details import RequestDetails
from qcore.sim.workload.sim_client import RequestMessage, ResponseMessage
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services

#: Receives the reply to an admin request, or None if the process died first.
OnReply = Callable[[Reply | None], None]


class PendingRequests:
    """The unanswered requests of one node. Clients get responses over the network; an admin request gets a callback.

    Args:
        node_id: the node.
        services: the shared parts of the run.
        links: the links that leave the node, by target.

    Attributes:
        details: writes the requests of clients to the trace.
    """

    def __init__(self, node_id: int, services: Services, links: dict[int, Link]) -> None:
        self._node_id = node_id
        self._services = services
        self._links = links
        self._last_request_id = 0
        self._clients: dict[int, tuple[int, RequestMessage]] = {}
        self._admin_requests: dict[int, OnReply] = {}
        self.details = RequestDetails(services.trace, node_id)

    def add(self, client: int, request: RequestMessage) -> ClientRequest:
        """Remember a client's request, and return the event for the replica."""
        request_id = self.next_id()
        self._clients[request_id] = (client, request)
        op = request.op
        event = ClientRequest(
            request_id, op.request, op.payload, request.timeout_ms, request.max_staleness_ms
        )
        self.details.took(self._services.engine.now, event, op.client, op.op_id)
        return event

    def add_admin_request(self, then: OnReply) -> int:
        """Remember an admin request, and return its id. `then` never runs during the request."""
        request_id = self.next_id()
        self._admin_requests[request_id] = then
        return request_id

    def refuse_connection(self, client: int, request: RequestMessage) -> None:
        """Refuse a client's connection, as the operating system does while no process listens."""
        self._send(client, ResponseMessage(request.op, request.attempt, connection_refused=True))

    def reply(self, reply: Reply) -> None:
        """Pass on a reply of the replica."""
        pending = self._clients.pop(reply.request_id, None)
        if pending is not None:
            client, request = pending
            now = self._services.engine.now
            term = self._services.histories.term_of(reply.index, request.op.payload)
            response = ResponseMessage(
                request.op,
                request.attempt,
                reply.result,
                reply.index,
                reply.error,
                term=term,
                served_by=self._node_id,
                served_us=now,
            )
            self.details.ended(now, reply, term)
            self._send(client, response)
            return
        then = self._admin_requests.pop(reply.request_id, None)
        if then is not None:  # after the current step, because `then` may send another request
            self._services.engine.immediately(partial(then, reply))

    def process_died(self) -> None:
        """Fail the admin requests. Clients notice only if their connections break."""
        admin_requests, self._admin_requests = self._admin_requests, {}
        for then in admin_requests.values():
            self._services.engine.immediately(partial(then, None))

    def break_connections(self) -> None:
        """Close the connections to clients, as the operating system does for a dead process."""
        clients, self._clients = self._clients, {}
        for client, request in clients.values():
            self._send(client, ResponseMessage(request.op, request.attempt))

    def forget_clients(self) -> None:
        """Forget the requests of the previous process, which the new one does not know."""
        self._clients = {}
        self.details.process_died()

    def next_id(self) -> int:
        """A new id for a request to the replica."""
        self._last_request_id += 1
        return self._last_request_id

    def _send(self, client: int, response: ResponseMessage) -> None:
        self._services.network.send(self._links[client], response, "")
