"""`RequestHandler`: passes clients' requests to the replica, and sends their outcomes back as responses.

Every request gets exactly one response on the connection that it came over, unless the connection is closed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Final, Protocol

from pydantic import JsonValue

from qcore.core.entry import Membership
from qcore.core.text_size import utf8_length
from qcore.errors import (
    ConfigError,
    InvalidField,
    LocalProtocolError,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    RemoteProtocolError,
    StoreError,
    TooLarge,
    Unauthenticated,
)
from qcore.node.api.admin_requests import AdminRequestHandler
from qcore.node.api.event_inbox import EventInbox
from qcore.node.api.init_request import Done, Initialiser
from qcore.node.api.new_cluster import Peers
from qcore.node.api.perform_routing import METRIC_KINDS, ReplicaRequest, replica_request
from qcore.node.api.request_quotas import RequestQuotas
from qcore.node.api.response_forms import PerformForm, ResponseForm, denial_in
from qcore.node.api.store.restore_requests import RestoreRequestHandler
from qcore.node.api.store.store_request_handler import StoreRequestHandler
from qcore.node.application import Application, Operation
from qcore.node.config import NodeConfig
from qcore.node.notifications.watch_requests import WatchRequestHandler
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.node.runtime.submit_event import MakeEvent, OnDenied, Permission, quota_error
from qcore.replica.events import ClientRequest, InitCluster, Reply
from qcore.replica.messages import RequestKind
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.replica import Replica
from qcore.replica.requests.disk_space import writes_to_log
from qcore.replica.requests.flow_control import FlowControl
from qcore.runtime.interface import Runtime
from qcore.security.keys.node_key import checked_public_key
from qcore.transport.codec.codec import encode_response
from qcore.transport.perform_options import Consistency, SessionUse
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import (
    GetMetrics,
    GetMetricsResponse,
    Init,
    InitResponse,
    Ok,
    error_envelope,
    failure,
)

#: How often an `Init` in progress is advanced.
_INIT_CHECK_S: Final = 0.1
#: The part of the timeout of an `Init` with a token in which the nodes must show their keys.
_ASKING_SHARE: Final = 0.6


class PerformEnvelope(Protocol):
    """The fields of every application's `perform_type`."""

    id: str
    request: Any
    consistency: Consistency
    session: SessionUse | None


class RequestHandler:
    """Executes clients' requests, and tracks those in progress.

    Args:
        application: understands the `Perform` requests of the state machine.
        identity: this node and its cluster.
        inbox: takes the events for the replica.
        metrics_object: makes the metrics object for `GetMetrics`.
        metrics: counts the requests.
        config: how long a request may take, how large it may be, and how many requests and bytes may be in progress.
            Requests beyond these bounds are rejected before they wait anywhere.
        replica: read for the effective configuration and the version.
        peers: the other nodes, for `Init`.
        trace: records the requests and their outcomes, or None.
        runtime: the world that the node runs in.
        first_id: the first number that a request and a watch get.

    Attributes:
        handlers: the handlers of clients' messages, by class; see `ServerHandler`.
        after_init: called once this node's `Init` is committed, with a function that sends the response. It must call
            that function when the topology is loaded.
        initialiser: executes `Init`.
        write_quota: returns the error for a write that a quota of this node forbids.
        watches: handles the watches of clients.
        on_denied: called with each denial of a read or write, or None.
        perform_type: the class of the message `Perform`.
    """

    def __init__(
        self,
        application: Application,
        identity: ClusterIdentity,
        inbox: EventInbox,
        metrics_object: Callable[[], dict[str, JsonValue]],
        metrics: NodeMetrics,
        config: NodeConfig,
        replica: Replica,
        peers: Peers,
        trace: NodeRecorder | None = None,
        *,
        runtime: Runtime,
        first_id: int = 1,
    ) -> None:
        self._now_us = now_us = runtime.monotonic_us
        self._admin_requests = AdminRequestHandler(
            replica,
            config.request_timeout_ms,
            self.get_permission,
            peers,
            self.submit_event,
            self._run,
        )
        self._application = application
        self.perform_type = application.perform_type
        self._inbox, self._trace = inbox, trace
        self._metrics_object, self._metrics = metrics_object, metrics
        self._timeout_ms = config.request_timeout_ms
        self._max_command_bytes = config.replica.max_command_bytes
        longest_us, now = config.raft.election_timeout_max_ms * 1000, now_us()
        self._flow = FlowControl(
            config.replica.max_pending_requests, config.replica.max_pending_bytes, longest_us, now
        )
        self._quotas = RequestQuotas(config, longest_us, now)
        self._request_ids = count(first_id)
        #: request id -> connection, envelope id, form of the response, kind, bytes, arrival µs; on the hot path.
        self._client_requests: dict[
            int, tuple[ServerConnection, str, ResponseForm, RequestKind, int, int]
        ] = {}
        #: The forms by the name of the operation.
        self._perform_forms: dict[str, PerformForm] = {}
        self._store = StoreRequestHandler(
            application.machine, lambda: replica.versions.active.rules, self._begin
        )
        self._restores = RestoreRequestHandler(
            application.machine,
            lambda: replica.versions.active.rules,
            self._restore_permission,
            config.replica.max_command_bytes,
            config.request_timeout_ms,
            runtime,
        )
        # Registrations may wait long for an index, so they must not take the places of reads and writes.
        registrations = FlowControl(
            max(1, config.replica.max_pending_requests // 2),
            config.replica.max_pending_bytes,
            longest_us,
            now,
        )
        self.watches = WatchRequestHandler(
            application.machine,
            partial(self.submit_event, flow=registrations),
            inbox.add_event,
            registrations,
            lambda: self._reject_all,
            metrics,
            max_watches=config.max_client_watches,
            timeout_ms=config.request_timeout_ms,
            first_index=lambda: replica.watches.history.first_index,
            runtime=runtime,
            first_id=first_id,
        )
        self._callbacks: dict[int, tuple[FlowControl | None, Callable[[Reply], None]]] = {}
        self._metrics_json: str | None = None
        self._reject_all: QcoreError | None = None
        self._reject_writes: QcoreError | None = None
        self.write_quota: Callable[[RequestKind, str], QcoreError | None] = lambda *_request: None
        self.after_init: Callable[[Callable[[], None]], None] = lambda done: done()
        self.on_denied: OnDenied | None = None
        self.initialiser = Initialiser(
            identity,
            replica.core,
            peers,
            self._write_first_entries,
            replica.versions.initial_version,
            config.request_timeout_ms,
            runtime.new_token,
            never_leads=config.raft.priority == 0,
            advertised=config.advertise_addr,
            public_key=peers.public_key,
        )
        self._node_id, self._peers = config.node_id, peers
        #: The tasks that ask for keys, as an ordered set.
        self._asking: dict[asyncio.Task[None], None] = {}
        peers.on_connection_change = self.advance_init
        self._init_timer: asyncio.TimerHandle | None = None
        self.handlers: dict[type, MessageHandler] = {
            self.perform_type: self._perform,
            GetMetrics: self._get_metrics,
            Init: self._init,
            **self._admin_requests.handlers,
            **self._store.handlers,
            **self._restores.handlers,
            **self.watches.handlers,
        }

    # -- incoming --------------------------------------------------------------------------------

    def _get_metrics(self, connection: ServerConnection, message: GetMetrics) -> None:
        connection.send_encoded(
            encode_response(GetMetricsResponse.__name__, message.id, self._metrics_text())
        )

    def get_permission(self, connection: ServerConnection, message: object) -> Permission:
        """See `Permission`; for an admin, session or snapshot request."""
        flow = self._quotas.flow_for(connection, message)
        return Permission(
            self._reject_all or flow.rejection(0, self._now_us()),
            self._reject_writes,
            partial(self.submit_event, flow=flow),
        )

    def _restore_permission(self, connection: ServerConnection, message: object) -> Permission:
        permission = self.get_permission(connection, message)
        rejection = permission.reject_writes or self.write_quota("write", "")
        return replace(permission, reject_writes=rejection)

    def _metrics_text(self) -> str:
        """The metrics object as JSON, built once for all requests in one turn of the event loop."""
        if self._metrics_json is None:
            self._metrics_json = json.dumps(self._metrics_object())
            asyncio.get_running_loop().call_soon(self._forget_metrics)
        return self._metrics_json

    def _forget_metrics(self) -> None:
        self._metrics_json = None

    def submit(self, kind: RequestKind, payload: str, done: Callable[[Reply], None]) -> None:
        """Submit a request of the node itself, forwarded like a client's. `done` is called with its outcome."""
        self.submit_event(
            lambda number: ClientRequest(number, kind, payload, self._timeout_ms), done
        )

    def submit_event(
        self,
        event: MakeEvent,
        done: Callable[[Reply], None],
        flow: FlowControl | None = None,
    ) -> None:
        """See `SubmitEvent`. `flow` counts the request while it is in progress."""
        made = event(request_id := next(self._request_ids))
        if (error := quota_error(made, self.write_quota)) is not None:
            done(Reply(request_id, None, 0, error))
            return
        if flow is not None:
            flow.take(0)
        self._callbacks[request_id] = (flow, done)
        if isinstance(made, ClientRequest):
            if self._trace is not None:
                self._trace.request_began(made, "")
            self._inbox.add_request(made)
        else:
            self._inbox.add_event(made)

    def _perform(self, connection: ServerConnection, message: PerformEnvelope) -> None:
        if message.request is None or getattr(message, "requests", None) is not None:
            self._perform_list(connection, message)
            return
        try:
            operation = self._application.operation(message.request)
            request = replica_request(operation, message.consistency, message.session)
        except (StoreError, RemoteProtocolError) as error:
            connection.send(error_envelope(message.id, error))
            return
        form = self._perform_forms.get(operation.name)
        if form is None:
            form = PerformForm(self._application, operation.name)
            self._perform_forms[operation.name] = form
        self._begin(connection, message.id, form, operation, request)

    def _perform_list(self, connection: ServerConnection, message: PerformEnvelope) -> None:
        """Handle a `Perform` without `request`, or with `requests`."""
        if getattr(message, "requests", None) is None or message.request is not None:
            error = InvalidField(
                "Perform.request", "give either `request`, or `requests` as in StorePerform"
            )
            connection.send(error_envelope(message.id, error))
        else:
            self._store.perform(connection, message)

    def _begin(
        self,
        connection: ServerConnection,
        message_id: str,
        form: ResponseForm,
        operation: Operation,
        request: ReplicaRequest,
    ) -> None:
        """Submit a client's operation, unless something is in the way."""
        rejection = self._reject_all
        if rejection is None and writes_to_log(operation.kind):
            rejection = self._reject_writes or self.write_quota(request.kind, request.payload)
        now, size = self._now_us(), utf8_length(request.payload)
        # In the usual case its size need not be counted, because no character has more than four bytes.
        if rejection is None and len(operation.payload) * 4 > self._max_command_bytes:
            rejection = self._too_large(operation.payload)
        if rejection is None:
            rejection = self._flow.rejection(size, now)
        if rejection is not None:
            connection.send_encoded(form.failure(message_id, rejection))
            return
        request_id = next(self._request_ids)
        self._flow.take(size)
        self._client_requests[request_id] = (connection, message_id, form, request.kind, size, now)
        user = "" if connection.principal is None else connection.principal.user
        kind, payload, stale_ms = request.kind, request.payload, request.max_staleness_ms
        event = ClientRequest(request_id, kind, payload, self._timeout_ms, stale_ms, user)
        if self._trace is not None:
            self._trace.request_began(event, message_id)
        self._inbox.add_request(event)

    def _too_large(self, payload: str) -> TooLarge | None:
        limit, size = self._max_command_bytes, utf8_length(payload)
        if size <= limit:
            return None
        return TooLarge(f"the request has {size} bytes, the limit is {limit}: split it")

    def _init(self, connection: ServerConnection, message: Init) -> None:
        def settled(error: QcoreError | None) -> None:
            if error is not None:
                connection.send(InitResponse(message.id, *failure(error)))
            else:
                self.after_init(lambda: connection.send(InitResponse(message.id, Ok(None))))

        if self._reject_all is not None:
            settled(self._reject_all)
            return
        try:
            keys = {
                node: checked_public_key(key, f"public_keys: node {node}")
                for node, key in message.public_keys
            }
            if (awaited := self._peers.awaited_cluster) is not None:
                raise ConfigError(
                    f"node {self._node_id} has a join token of cluster {awaited}, so it begins no other cluster: start "
                    "it without the token"
                )
            asks = message.token is not None and self.initialiser.needs_keys
            asks = asks and self.initialiser.check(message.nodes, message.token)
        except QcoreError as error:
            settled(error)
            return
        if asks and len(self._asking) >= 64:  # each is a task, and no turn pays for it
            settled(Overloaded.because("other requests ask for keys already", 1000))
        elif asks:
            self._run(self._begin_with_token(message, keys, settled))
        else:
            self._begin_init(message, keys, settled)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        """Run work that asks other nodes, until it ends or the node stops."""
        task = asyncio.get_running_loop().create_task(work, name="qcore keys")
        self._asking[task] = None
        task.add_done_callback(self._asking.pop)

    async def _begin_with_token(self, message: Init, keys: dict[int, str], done: Done) -> None:
        """Ask for the keys first: the cluster id is a digest of them."""
        known = {*keys, self._node_id}
        unknown = {node: address for node, address in message.nodes if node not in known}
        try:
            wait_s = _ASKING_SHARE * self._timeout_ms / 1000
            answers, problems = await self._peers.ask_nodes(unknown, wait_s)
        except asyncio.CancelledError:
            done(NotLeader())  # the node stops
            raise
        if problems:
            done(self.initialiser.keys_missing(unknown, problems))
        else:
            found = {node: answer.reply.public_key for node, answer in answers.items()}
            self._begin_init(message, {**found, **keys}, done)

    def _begin_init(self, message: Init, keys: dict[int, str], done: Done) -> None:
        self.initialiser.begin(message.nodes, message.token, self._now_us(), done, keys)
        self.schedule_init_check()

    def advance_init(self) -> None:
        """Advance an `Init` in progress after a connection to another node has changed, or time has passed."""
        self.initialiser.advance(self._now_us())

    def schedule_init_check(self) -> None:
        """Advance an `Init` in progress at intervals, for its deadline and for changes that no connection reports."""
        if self._init_timer is not None:
            self._init_timer.cancel()
            self._init_timer = None
        if self.initialiser.waiting:
            call_later = asyncio.get_running_loop().call_later
            self._init_timer = call_later(_INIT_CHECK_S, self._check_init)

    def _check_init(self) -> None:
        self.advance_init()
        self.schedule_init_check()

    def _write_first_entries(
        self,
        membership: Membership,
        same_everywhere: bool,
        timeout_ms: int,
        done: Callable[[Reply], None],
    ) -> None:
        self.submit_event(
            lambda number: InitCluster(number, membership, timeout_ms, same_everywhere), done
        )

    # -- outgoing --------------------------------------------------------------------------------

    def on_reply(self, reply: Reply) -> None:
        """Handle the outcome of a request, which the replica reports."""
        if self._trace is not None:
            self._trace.request_ended(reply)
        perform = self._client_requests.pop(reply.request_id, None)
        if perform is None:
            submitted = self._callbacks.pop(reply.request_id, None)
            if submitted is not None:
                flow, done = submitted
                if flow is not None:
                    flow.release(0, self._now_us())
                done(reply)
            return
        connection, message_id, form, kind, size, arrived = perform
        if self._trace is not None:
            self._trace.answered(connection.remote, message_id, reply)
        now = self._now_us()
        self._flow.release(size, now)
        error = reply.error
        if error is None:
            assert reply.result is not None, "an outcome is a result or an error"
            outcome = "ok"
            try:
                connection.send_encoded(form.success(message_id, reply.result))
            except LocalProtocolError as too_large:
                # The request was executed, but its result does not fit into a frame.
                connection.send_encoded(form.failure(message_id, StoreError(str(too_large))))
        else:
            outcome = "unknown" if isinstance(error, OutcomeUnknown) else "refused"
            if isinstance(error, Unauthenticated):  # the leader knows the users before this node
                connection.send(error_envelope(message_id, error))
            else:
                connection.send_encoded(form.failure(message_id, error))
        self._metrics.count_request(METRIC_KINDS[kind], outcome, (now - arrived) / 1e6)
        if self.on_denied is not None and (denial := denial_in(reply)) is not None:
            self.on_denied(connection, METRIC_KINDS[kind], denial)

    # -- state -----------------------------------------------------------------------------------

    @property
    def in_progress(self) -> int:
        """The number of requests without an outcome."""
        return len(self._client_requests) + len(self._callbacks) + self._inits

    @property
    def rejects_writes(self) -> bool:
        """Whether writes are rejected because the disk is full."""
        return self._reject_writes is not None

    def reject_writes(self, error: QcoreError | None) -> None:
        """Reject writes with this error (a full disk); None to accept them again."""
        self._reject_writes = error

    def close(self) -> None:
        """Reject new requests; those in progress go on."""
        self._reject_all = NotLeader()
        self.initialiser.stop()
        for task in self._asking:
            task.cancel()
        if self._init_timer is not None:
            self._init_timer.cancel()

    @property
    def _inits(self) -> int:
        return len(self._asking) + self.initialiser.waiting

    def abandon(self, why: str) -> None:
        """End every request in progress with an unknown outcome."""
        for request_id in [*self._client_requests, *self._callbacks]:
            self.on_reply(Reply(request_id, None, 0, OutcomeUnknown(why)))
        self.initialiser.abandon(OutcomeUnknown(why))
