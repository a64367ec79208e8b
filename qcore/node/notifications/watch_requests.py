"""`WatchRequestHandler`: begins and ends the watches of clients, and sends them what their watches receive.

Nothing waits for a client. A notification that finds no room in its connection's queue ends the watches of that
connection. The client learns this behind the notifications that it was sent, and can resume.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import count

from qcore.errors import Overloaded, QcoreError, Refused, WatchCompacted, to_wire
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import StateMachine, SupportsChanges
from qcore.node.notifications.watch_connections import ClientWatch, ConnectionWatches, overflow
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime.submit_event import OnDenied, SubmitEvent
from qcore.node.status.watch_figures import WatchFigures
from qcore.replica.events import BeginWatch, EndWatch, Notice, Reply, WatchEnded
from qcore.replica.requests.flow_control import FlowControl
from qcore.replica.watches.change_history import ChangeHistory
from qcore.runtime.interface import Runtime
from qcore.store_api.watch_messages import (
    GetNotificationConfigs,
    RegisterNotification,
    StoreGetNotificationConfigs,
    StoreRegisterNotification,
    StoreUnregisterNotification,
    UnregisterNotification,
    UnwatchChanges,
    WatchChanges,
)
from qcore.transport.codec.codec import encode_failure, encode_response
from qcore.transport.server.server import MessageHandler, ServerConnection, user_of

#: A client whose registration is rejected should wait this long, milliseconds.
_RETRY_MS = 1000


class WatchRequestHandler:
    """Handles the messages that watch changes.

    Args:
        machine: the node's state machine.
        submit: submits an event that the replica replies to, and counts it in `flow`.
        end: passes `EndWatch` to the replica.
        flow: counts registrations in progress.
        rejection: returns why no request is accepted, or None.
        metrics: counts watches and notifications.
        max_watches: the most watches of one connection.
        timeout_ms: how long a registration may take.
        first_index: returns the first log index whose changes the replica still has.
        runtime: the world that the node runs in.
        first_id: the first number that a watch gets.

    Attributes:
        handlers: the handlers by class; see `ServerHandler`.
        on_denied: called with each denial of a registration, or None.
        problem: returns why the user of a connection has no rights any more; None if it has. The watches then end.
    """

    def __init__(
        self,
        machine: StateMachine,
        submit: SubmitEvent,
        end: Callable[[EndWatch], None],
        flow: FlowControl,
        rejection: Callable[[], QcoreError | None],
        metrics: NodeMetrics,
        *,
        max_watches: int,
        timeout_ms: int,
        first_index: Callable[[], int],
        runtime: Runtime,
        first_id: int,
    ) -> None:
        self._machine = machine
        self._is_store = isinstance(machine, EntityStore)
        self._submit = submit
        self._end = end
        self._flow = flow
        self._rejection = rejection
        self._metrics = metrics
        self._max_watches = max_watches
        self._timeout_ms = timeout_ms
        self._first_index = first_index
        self._runtime = runtime
        self._ids = count(first_id)
        self.problem: Callable[[ServerConnection], QcoreError | None] = lambda _: None
        self.on_denied: OnDenied | None = None
        self._watches: dict[int, ClientWatch] = {}
        self._connections: dict[int, ConnectionWatches] = {}
        #: Index, sequence and body of the last change, and its encoding, which all its notifications share.
        self._last: tuple[int, int, str] | None = None
        self._last_encoded = b""
        self.handlers: dict[type, MessageHandler] = {
            StoreRegisterNotification: self._register,
            RegisterNotification: self._register,
            WatchChanges: self._register,
            StoreUnregisterNotification: self._unregister,
            UnregisterNotification: self._unregister,
            UnwatchChanges: self._unregister,
            StoreGetNotificationConfigs: self._get_configs,
            GetNotificationConfigs: self._get_configs,
        }

    # -- requests --------------------------------------------------------------------------------

    def _register(
        self, connection: ServerConnection, message: StoreRegisterNotification | WatchChanges
    ) -> None:
        name = type(message).__name__
        owner = self._connections.get(connection.connection_id)
        rejection = self._why_not(name, owner, isinstance(message, WatchChanges))
        if rejection is not None:
            connection.send_encoded(_failure(name, message.id, rejection))
            return
        if owner is None:
            owner = self._connections[connection.connection_id] = ConnectionWatches(connection)
        watch_id, request = next(self._ids), message.watch_request()
        watch = _new_watch(name, request, owner, self._runtime.new_token())
        self._watches[watch_id] = watch
        owner.add(watch_id, watch)
        self._metrics.watches = len(self._watches)
        after, timeout_ms, user = message.after, self._timeout_ms, user_of(connection)
        self._submit(
            lambda number: BeginWatch(number, watch_id, request, after, timeout_ms, user),
            partial(self._registered, watch_id, watch, name, message.id),
        )

    def _why_not(
        self, name: str, owner: ConnectionWatches | None, topic: bool
    ) -> QcoreError | None:
        """Why a connection may not register another watch, or None."""
        machine = self._machine
        if topic and self._is_store:
            return Refused(
                f"{name}: this node runs the entity store: use StoreRegisterNotification"
            )
        if not topic and not self._is_store:
            return Refused(
                f"{name}: this node runs the state machine {machine.name!r}, and the message is one of the entity "
                "store: use WatchChanges"
            )
        if not isinstance(machine, SupportsChanges):
            return Refused(
                f"{name}: the state machine {machine.name!r} does not report its changes "
                "(qcore.machines.interface.SupportsChanges), so they cannot be watched"
            )
        held = 0 if owner is None else len(owner.by_id) + owner.unreported
        if held >= self._max_watches:
            return Overloaded.because(
                f"this connection has {held} watches (max_client_watches): unregister some, or use another "
                "connection",
                _RETRY_MS,
            )
        return self._rejection() or self._flow.rejection(0, self._runtime.monotonic_us())

    def _registered(
        self, watch_id: int, watch: ClientWatch, name: str, message_id: str, reply: Reply
    ) -> None:
        """Send the outcome of a registration."""
        connection = watch.owner.connection
        if watch_id not in self._watches:
            self._end(EndWatch(watch_id))  # the connection was closed, or the watch cut off
            if reply.error is None and connection.is_open:
                connection.send_encoded(_failure(name, message_id, overflow(self._first_index)))
                return
        if reply.error is not None:
            self._forget(watch_id)
            self._count_compacted(reply.error)
            if self.on_denied is not None:
                self.on_denied(connection, "watch", reply.error)
            connection.send_encoded(_failure(name, message_id, reply.error))
            return
        watch.begun = True
        content = f'{{"Ok":"{watch.token}"}},"after":{reply.result}'
        connection.send_encoded(encode_response(f"{name}Response", message_id, content))

    def _unregister(
        self, connection: ServerConnection, message: StoreUnregisterNotification | UnwatchChanges
    ) -> None:
        owner = self._connections.get(connection.connection_id)
        watch_id = None if owner is None else owner.find(message.token)
        if watch_id is not None:
            self._forget(watch_id)
            self._end(EndWatch(watch_id))
        name = f"{type(message).__name__}Response"
        found = "false" if watch_id is None else "true"
        connection.send_encoded(encode_response(name, message.id, found))

    def _get_configs(
        self, connection: ServerConnection, message: StoreGetNotificationConfigs
    ) -> None:
        owner = self._connections.get(connection.connection_id)
        watches = () if owner is None else owner.by_id.values()
        pairs = ",".join(f'["{each.token}",{each.config}]' for each in watches if each.begun)
        name = f"{type(message).__name__}Response"
        connection.send_encoded(encode_response(name, message.id, f"[{pairs}]"))

    def figures(self, history: ChangeHistory) -> WatchFigures:
        """The figures of all watches.

        Args:
            history: the changes that the replica keeps.
        """
        metrics = self._metrics
        return WatchFigures(
            metrics.watches,
            sum(bool(owner.by_id) for owner in self._connections.values()),
            metrics.notifications_sent,
            metrics.watches_cut_off,
            metrics.watches_compacted,
            history.count,
            history.size_bytes,
            history.first_index,
        )

    def _count_compacted(self, error: QcoreError) -> None:
        if isinstance(error, WatchCompacted):
            self._metrics.watches_compacted += 1

    def connection_closed(self, connection: ServerConnection) -> None:
        """End all watches of a connection."""
        owner = self._connections.pop(connection.connection_id, None)
        if owner is not None:
            for watch_id in list(owner.by_id):
                self._forget(watch_id)
                self._end(EndWatch(watch_id))

    def _forget(self, watch_id: int) -> ClientWatch | None:
        watch = self._watches.pop(watch_id, None)
        if watch is not None:
            watch.owner.remove(watch_id)
            self._metrics.watches = len(self._watches)
        return watch

    # -- what the replica reports ------------------------------------------------------------------

    def on_notice(self, notice: Notice) -> None:
        """Send a change to the client of a watch."""
        watch = self._watches.get(notice.watch_id)
        if watch is None:
            return  # it ended while the replica made the notice
        problem = self.problem(watch.owner.connection)
        if problem is not None:
            self._end_all(watch.owner, problem)
            return
        change = (notice.index, notice.sequence, notice.body)
        if change != self._last:
            self._last, self._last_encoded = change, self._encode(notice)
        if watch.owner.connection.push(watch.head + self._last_encoded + watch.tail):
            self._metrics.notifications_sent += 1
        else:
            self._cut_off(watch.owner)

    def _encode(self, notice: Notice) -> bytes:
        """The part of a notification that all watches of the change share."""
        body = notice.body[:-1] if self._is_store else notice.body
        return f'{body},"index":{notice.index},"sequence":{notice.sequence},"token":"'.encode()

    def _cut_off(self, owner: ConnectionWatches) -> None:
        """End all watches of a connection, whose client reads too slowly."""
        self._metrics.watches_cut_off += sum(watch.begun for watch in owner.by_id.values())
        self._end_all(owner, overflow(self._first_index))

    def end_without_rights(self) -> None:
        """End the watches whose users have no rights any more, although nothing has changed that they would see."""
        for owner in [*self._connections.values()]:
            if owner.by_id and (problem := self.problem(owner.connection)) is not None:
                self._end_all(owner, problem)

    def _end_all(self, owner: ConnectionWatches, error: QcoreError) -> None:
        """End all watches of a connection, and report the error."""
        for watch_id, watch in list(owner.by_id.items()):
            self._forget(watch_id)
            self._end(EndWatch(watch_id))
            if watch.begun:
                owner.report_end(watch, error)

    def on_watch_ended(self, ended: WatchEnded) -> None:
        """Report to the client of a watch that the replica has ended it."""
        watch = self._forget(ended.watch_id)
        if watch is not None:
            self._count_compacted(ended.error)
            watch.owner.report_end(watch, ended.error)


def _failure(name: str, message_id: str, error: QcoreError) -> bytes:
    """The response to a registration with the message `name` that failed."""
    return encode_failure(f"{name}Response", message_id, *to_wire(error))


def _new_watch(name: str, request: str, owner: ConnectionWatches, token: str) -> ClientWatch:
    """A watch with this token, for a connection that registers it with the message `name`."""
    if name == WatchChanges.__name__:
        head = b'{"ChangeNotification":{"change":'
        return ClientWatch(token, json.dumps(request), owner, head, f'{token}"}}}}'.encode())
    push = name.replace("Register", "")
    head = f'{{"{push}":{{"notification":'.encode()
    return ClientWatch(token, request, owner, head, f'{token}"}}}}}}'.encode())
