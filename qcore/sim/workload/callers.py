"""Who waits for an answer of a simulated node: clients on their links, and the operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from qcore.replica.events import ClientRequest, Reply
from qcore.sim.workload.sim_client import ClientAnswer, ClientCall
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services

#: Takes the reply to a request of the operator, or None if the process died first.
OnReply = Callable[[Reply | None], None]


class PendingRequests:
    """The requests that a node took and has not answered.

    Args:
        node_id: the node.
        services: the shared parts of the run.
        links: the links that leave the node, by target.
    """

    def __init__(self, node_id: int, services: Services, links: Mapping[int, Link]) -> None:
        self._node_id = node_id
        self._services = services
        self._links = links
        self._last_request_id = 0
        self._clients: dict[int, tuple[int, ClientCall]] = {}
        self._admin_requests: dict[int, OnReply] = {}

    def take(self, client: int, call: ClientCall) -> ClientRequest:
        """A client asked: what its node's replica is asked then."""
        request_id = self._next_id()
        self._clients[request_id] = (client, call)
        op = call.op
        return ClientRequest(
            request_id, op.request, op.payload, call.timeout_ms, call.max_staleness_ms
        )

    def take_admin_request(self, then: OnReply) -> int:
        """The operator asks: the id of the request. `then` is never called at once."""
        request_id = self._next_id()
        self._admin_requests[request_id] = then
        return request_id

    def refuse(self, client: int, call: ClientCall) -> None:
        """No process listens: the operating system refuses the connection."""
        self._send(client, ClientAnswer(call.op, call.attempt, connection_refused=True))

    def reply(self, reply: Reply) -> None:
        """Pass the replica's answer on."""
        waiting = self._clients.pop(reply.request_id, None)
        if waiting is not None:
            client, call = waiting
            answer = ClientAnswer(
                call.op,
                call.attempt,
                reply.result,
                reply.index,
                reply.error,
                term=self._services.histories.term_of(reply.index, call.op.payload),
                served_by=self._node_id,
                served_us=self._services.engine.now,
            )
            self._send(client, answer)
            return
        then = self._admin_requests.pop(reply.request_id, None)
        if then is not None:  # later: it may ask again, and this step is not over
            self._services.engine.immediately(partial(then, reply))

    def died(self) -> None:
        """The process is gone: the operator notices. Clients do if their connections break."""
        admin_requests, self._admin_requests = self._admin_requests, {}
        for then in admin_requests.values():
            self._services.engine.immediately(partial(then, None))

    def break_connections(self) -> None:
        """The operating system closes a dead process's connections to clients."""
        clients, self._clients = self._clients, {}
        for client, call in clients.values():
            self._send(client, ClientAnswer(call.op, call.attempt))

    def forget(self) -> None:
        """A new process knows nothing of what the one before it was asked."""
        self._clients = {}

    def _next_id(self) -> int:
        self._last_request_id += 1
        return self._last_request_id

    def _send(self, client: int, answer: ClientAnswer) -> None:
        self._services.network.send(self._links[client], answer, "")
