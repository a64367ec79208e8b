"""Clients' requests: from the envelope to the replica, and from its outcome to the reply.

Every request gets exactly one reply on the connection that it came over, unless that is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Protocol, cast
from uuid import uuid4

from pydantic import JsonValue

from qcore.core.entry import Membership
from qcore.core.raft import RaftCore
from qcore.core.text import utf8_length
from qcore.errors import (
    ConfigError,
    LocalProtocolError,
    NotLeader,
    OutcomeUnknown,
    QcoreError,
    RemoteProtocolError,
    StoreError,
    TooLarge,
)
from qcore.node.application import Application
from qcore.node.clock import now_us
from qcore.node.config import NodeConfig
from qcore.node.management import MAX_MEMBERS, ManagementDesk
from qcore.node.metrics import NodeMetrics
from qcore.node.places import Places
from qcore.node.routing import counted_as, route
from qcore.replica.events import ClientRequest, InitCluster, ReplicaEvent, Reply
from qcore.replica.flow import Flow
from qcore.replica.identity import ClusterIdentity
from qcore.replica.messages import RequestKind
from qcore.shown import ERROR, cut
from qcore.transport.address import parse_address
from qcore.transport.codec import encode_reply
from qcore.transport.perform import Consistency, SessionUse
from qcore.transport.server import ServerConnection
from qcore.transport.wire import (
    Error,
    GetMetrics,
    GetMetricsResponse,
    Init,
    InitResponse,
    Ok,
    failure,
)


class PerformEnvelope(Protocol):
    """What every application's `perform_type` has."""

    id: str
    request: Any
    consistency: Consistency
    session: SessionUse | None


class RequestDesk:
    """Keeps the requests in progress.

    Args:
        application: the state machine's requests.
        identity: this node and its cluster.
        post: gives an event to the replica.
        metrics_object: makes the reply to `GetMetrics`.
        metrics: counts.
        config: how long a request may take, how large it may be, and how many of them, and bytes of them, may be in
            progress: more are refused, before they wait anywhere.
        core: looked at for the configuration in force.
    """

    def __init__(
        self,
        application: Application,
        identity: ClusterIdentity,
        post: Callable[[ReplicaEvent], None],
        metrics_object: Callable[[], dict[str, JsonValue]],
        metrics: NodeMetrics,
        config: NodeConfig,
        core: RaftCore,
    ) -> None:
        self._management = ManagementDesk(core, config.request_timeout_ms)
        self._application = application
        self._identity = identity
        self._post = post
        self._metrics_object = metrics_object
        self._metrics = metrics
        self._timeout_ms = config.request_timeout_ms
        self._never_leads = config.priority == 0
        self._max_command_bytes = config.max_command_bytes
        longest_us, now = config.election_timeout_max_ms * 1000, now_us()
        self._flow = Flow(config.max_pending_requests, config.max_pending_bytes, longest_us, now)
        self._places = Places(config, longest_us, now)
        self._request_ids = count(1)
        #: request id -> connection, envelope id, command name, kind, bytes, arrival µs. A tuple: it is on the hot path.
        self._performs: dict[int, tuple[ServerConnection, str, str, RequestKind, int, int]] = {}
        self._callbacks: dict[int, tuple[Flow | None, Callable[[Reply], None]]] = {}
        self._metrics_json: str | None = None
        self._refuse_all: QcoreError | None = None
        self._refuse_writes: QcoreError | None = None
        #: Called when this node's `Init` has committed, with a function to call when the reply may go out.
        self.after_init: Callable[[Callable[[], None]], None] = lambda done: done()
        #: The address that `Init` without nodes gives to this node.
        self.own_address = ""

    # -- incoming --------------------------------------------------------------------------------

    def on_message(self, connection: ServerConnection, message: object) -> None:
        """Take a client's message."""
        if type(message) is self._application.perform_type:
            self._perform(connection, cast(PerformEnvelope, message))
            return
        match message:
            case GetMetrics(id=message_id):
                connection.send_encoded(
                    encode_reply(GetMetricsResponse.__name__, message_id, self._metrics_text())
                )
            case Init():
                self._init(connection, message)
            case Error():
                pass  # somebody could not read our reply; there is nothing to answer
            case _:
                flow = self._places.of(connection, message)
                refusals = (self._refuse_all or flow.refusal(0, now_us()), self._refuse_writes)
                ask = partial(self.ask, flow=flow)
                if not self._management.take(connection, message, *refusals, ask):
                    self._not_a_request(connection, message)

    def _metrics_text(self) -> str:
        """The metrics object as JSON. Made once for all who ask in one turn of the event loop."""
        if self._metrics_json is None:
            self._metrics_json = json.dumps(self._metrics_object())
            asyncio.get_running_loop().call_soon(self._forget_metrics)
        return self._metrics_json

    def _forget_metrics(self) -> None:
        self._metrics_json = None

    def submit(self, kind: RequestKind, payload: str, done: Callable[[Reply], None]) -> None:
        """A request of the node's own, forwarded like any other. `done` gets its outcome."""
        self.ask(lambda number: ClientRequest(number, kind, payload, self._timeout_ms), done)

    def ask(
        self,
        event: Callable[[int], ReplicaEvent],
        done: Callable[[Reply], None],
        flow: Flow | None = None,
    ) -> None:
        """Give the replica the event made for a fresh request id; `done` gets its outcome. `flow` counts it."""
        request_id = next(self._request_ids)
        if flow is not None:
            flow.take(0)
        self._callbacks[request_id] = (flow, done)
        self._post(event(request_id))

    def _perform(self, connection: ServerConnection, message: PerformEnvelope) -> None:
        try:
            operation = self._application.operation(message.request)
            asked = route(operation, message.consistency, message.session)
        except (StoreError, RemoteProtocolError) as error:
            connection.send(Error(message.id, cut(str(error), ERROR), error.detail()))
            return
        refusal = self._refuse_all
        if refusal is None and operation.kind == "write":
            refusal = self._refuse_writes
        now, size = now_us(), utf8_length(asked.payload)
        if refusal is None:
            refusal = self._too_large(operation.payload) or self._flow.refusal(size, now)
        if refusal is not None:
            response = self._application.failure(operation.name, refusal)
            self._answer(connection, message.id, operation.name, response)
            return
        request_id = next(self._request_ids)
        self._flow.take(size)
        self._performs[request_id] = (
            connection,
            message.id,
            operation.name,
            asked.kind,
            size,
            now,
        )
        self._post(
            ClientRequest(
                request_id, asked.kind, asked.payload, self._timeout_ms, asked.max_staleness_ms
            )
        )

    def _too_large(self, payload: str) -> TooLarge | None:
        limit = self._max_command_bytes
        if len(payload) * 4 <= limit:  # the usual case; no character has more than four bytes
            return None
        size = utf8_length(payload)
        if size <= limit:
            return None
        return TooLarge(f"the request has {size} bytes, the limit is {limit}: split it")

    def _init(self, connection: ServerConnection, message: Init) -> None:
        try:
            if self._refuse_all is not None:
                raise self._refuse_all
            membership = self._first_membership(message.nodes)
        except QcoreError as error:
            connection.send(InitResponse(message.id, *failure(error)))
            return

        def finished(reply: Reply) -> None:
            if reply.error is not None:
                connection.send(InitResponse(message.id, *failure(reply.error)))
            else:
                self.after_init(lambda: connection.send(InitResponse(message.id, Ok(None))))

        self.ask(lambda number: InitCluster(number, membership, self._timeout_ms), finished)

    def _first_membership(self, nodes: Sequence[tuple[int, str]]) -> Membership:
        identity = self._identity
        if identity.cluster_id is not None:
            raise ConfigError(
                f"node {identity.node_id} is already a member of cluster {identity.cluster_id}; "
                "a cluster is initialised once"
            )
        if identity.courted_by is not None:
            raise ConfigError(
                f"node {identity.node_id} is already about to join cluster {identity.courted_by}; "
                "send Init to one node only"
            )
        if self._never_leads:
            # It alone would hold the first configuration, which the first leader has to commit: nobody could.
            raise ConfigError(
                f"node {identity.node_id} has priority 0 and never leads: send Init to a node that may lead"
            )
        for position, (node_id, address) in enumerate(nodes):
            if node_id != identity.node_id and address == self.own_address:
                raise ConfigError(
                    f"nodes[{position}]: {address} is given to node {node_id}, and it is node {identity.node_id} that "
                    "listens there: are ids or addresses swapped?"
                )
        return first_membership(nodes or [(identity.node_id, self.own_address)], identity.node_id)

    def _not_a_request(self, connection: ServerConnection, message: object) -> None:
        """A known message that makes no sense here, such as a response."""
        message_id = getattr(message, "id", "")
        error = RemoteProtocolError(f"{type(message).__name__} is not a request")
        connection.send(Error(message_id, str(error), error.detail()))

    # -- outgoing --------------------------------------------------------------------------------

    def on_reply(self, reply: Reply) -> None:
        """The replica's outcome of a request."""
        perform = self._performs.pop(reply.request_id, None)
        if perform is None:
            asked = self._callbacks.pop(reply.request_id, None)
            if asked is not None:
                flow, done = asked
                if flow is not None:
                    flow.release(0, now_us())
                done(reply)
            return
        connection, message_id, name, kind, size, arrived = perform
        now = now_us()
        self._flow.release(size, now)
        error = reply.error
        if error is None:
            assert reply.result is not None, "a reply has a result or an error"
            response, outcome = self._application.success(name, reply.result), "ok"
        else:
            response = self._application.failure(name, error)
            outcome = "unknown" if isinstance(error, OutcomeUnknown) else "refused"
        self._answer(connection, message_id, name, response)
        self._metrics.count_request(counted_as(kind), outcome, (now - arrived) / 1e6)

    def _answer(
        self, connection: ServerConnection, message_id: str, name: str, response: str
    ) -> None:
        try:
            connection.send_encoded(encode_reply("PerformResponse", message_id, response))
        except LocalProtocolError as error:
            # What was asked was done, but the answer does not fit into a frame.
            error_response = self._application.failure(name, StoreError(str(error)))
            connection.send_encoded(encode_reply("PerformResponse", message_id, error_response))

    # -- state -----------------------------------------------------------------------------------

    @property
    def in_progress(self) -> int:
        """Requests without an outcome."""
        return len(self._performs) + len(self._callbacks)

    @property
    def refuses_writes(self) -> bool:
        """True while writes are refused for a full disk."""
        return self._refuse_writes is not None

    def refuse_writes(self, error: QcoreError | None) -> None:
        """Refuse writes with this error (a full disk), or take them again."""
        self._refuse_writes = error

    def close(self) -> None:
        """Take no more requests; those in progress go on."""
        self._refuse_all = NotLeader()

    def abandon(self, why: str) -> None:
        """End every request in progress: what it did is unknown."""
        for request_id in [*self._performs, *self._callbacks]:
            self.on_reply(Reply(request_id, None, 0, OutcomeUnknown(why)))


def first_membership(nodes: Sequence[tuple[int, str]], own_id: int) -> Membership:
    """The first configuration of a cluster with a fresh cluster id.

    Args:
        nodes: id and `host:port` of every voter.
        own_id: must be among them.

    Raises:
        ConfigError: an id or address is wrong or given twice, or the own id is missing.
    """
    if len(nodes) > MAX_MEMBERS:
        raise ConfigError(f"{len(nodes)} nodes are named; a cluster has at most {MAX_MEMBERS}")
    addresses: dict[int, str] = {}
    for position, (node_id, text) in enumerate(nodes):
        address = str(parse_address(text, f"nodes[{position}]"))
        if node_id in addresses:
            raise ConfigError(f"nodes[{position}]: node {node_id} is named twice")
        if address in addresses.values():
            raise ConfigError(f"nodes[{position}]: {address} is given to two nodes")
        addresses[node_id] = address
    if own_id not in addresses:
        raise ConfigError(
            f"nodes: this is node {own_id}, and it is not among {sorted(addresses)}; "
            "send Init to one of the nodes that it names"
        )
    return Membership(
        voters=tuple(sorted(addresses)),
        addresses=tuple(sorted(addresses.items())),
        cluster_id=uuid4().hex,
    )
