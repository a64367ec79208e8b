"""The connections of watchers to one simulated node, and the watches of its replica that belong to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from qcore.compiled_build import register_copies
from qcore.replica.events import BeginWatch, EndWatch, Notice, ReplicaEvent, Reply, WatchEnded
from qcore.sim.workload.watcher_messages import (
    CloseWatch,
    ConnectionReset,
    FromNode,
    OpenWatch,
    Probe,
    ProbeAnswer,
    WatchBegun,
    WatchFailed,
    WatchNotice,
)
from qcore.sim.world.network import Link
from qcore.sim.world.services import Services

#: Gives the replica an event; False if it is not taken now, because the process is down or paused.
Deliver = Callable[[ReplicaEvent], bool]


@dataclass
class _Connection:
    watcher: int
    number: int
    sent: int = 0


class WatchConnections:
    """The watch connections of one node, over all its lives.

    Args:
        node_id: the node.
        services: the shared parts of the run.
        links: the links that leave the node, by target.
        next_request_id: makes the ids of requests.
        deliver: gives the replica an event.
    """

    def __init__(
        self,
        node_id: int,
        services: Services,
        links: Mapping[int, Link],
        next_request_id: Callable[[], int],
        deliver: Deliver,
    ) -> None:
        self._node_id = node_id
        self._services = services
        self._links = links
        self._next_request_id = next_request_id
        self._deliver = deliver
        self._last_watch_id = 0
        self._watches: dict[int, _Connection] = {}
        self._ids: dict[tuple[int, int], int] = {}  # (watcher, connection) -> watch
        self._requests: dict[int, int] = {}  # request -> watch
        self._ending: dict[int, None] = {}  # the replica may not have taken their end yet

    def receive(self, watcher: int, message: OpenWatch | Probe | CloseWatch) -> None:
        """Receive a message of a watcher. The process runs and is not paused, or the message opens or closes."""
        key = (watcher, message.connection)
        watch_id = self._ids.get(key)
        if isinstance(message, OpenWatch):
            self._begin(watcher, message)
        elif watch_id is None:
            if isinstance(message, Probe):
                self.refuse(watcher, message.connection)
        elif isinstance(message, Probe):
            self._send(self._watches[watch_id], ProbeAnswer(self._services.engine.now))
        else:
            self._forget(watch_id)
            self._end(watch_id)

    def refuse(self, watcher: int, connection: int) -> None:
        """Refuse a connection that does not exist, as the operating system does."""
        reset = FromNode(connection, 0, ConnectionReset())
        self._services.network.send(self._links[watcher], reset, "")

    def take_reply(self, reply: Reply) -> bool:
        """Pass on a reply of the replica; False if it belongs to no watch."""
        watch_id = self._requests.pop(reply.request_id, None)
        if watch_id is None:
            return False
        connection = self._watches.get(watch_id)
        if connection is None:
            if reply.result is not None:  # it began after its connection was closed
                self._services.engine.immediately(partial(self._end, watch_id))
        elif reply.error is not None:
            self._send(connection, WatchFailed(reply.error))
            self._forget(watch_id)
        else:
            index, sequence = json.loads(reply.result or "")
            self._send(connection, WatchBegun((index, sequence)))
        return True

    def notice(self, notice: Notice) -> None:
        """Send a change to its watcher."""
        connection = self._watches.get(notice.watch_id)
        at = (notice.index, notice.sequence)
        if connection is not None:
            self._send(connection, WatchNotice(at, notice.body))
        elif notice.watch_id not in self._ending and self._services.watches is not None:
            self._services.watches.after_end(self._node_id, notice.watch_id, at)

    def ended(self, ended: WatchEnded) -> None:
        """Report to the watcher that its watch has ended."""
        connection = self._watches.get(ended.watch_id)
        if connection is not None:
            self._send(connection, WatchFailed(ended.error))
            self._forget(ended.watch_id)

    def break_connections(self) -> None:
        """Close the connections, as the operating system does for a dead process."""
        for connection in self._watches.values():
            self.refuse(connection.watcher, connection.number)
        self.forget_all()

    def forget_all(self) -> None:
        """Forget the connections of the previous process, which the new one does not know."""
        for kept in (self._watches, self._ids, self._requests, self._ending):
            kept.clear()

    def _begin(self, watcher: int, message: OpenWatch) -> None:
        key = (watcher, message.connection)
        self._last_watch_id += 1
        watch_id, request_id = self._last_watch_id, self._next_request_id()
        self._watches[watch_id] = _Connection(watcher, message.connection)
        self._ids[key] = watch_id
        self._requests[request_id] = watch_id
        self._deliver(
            BeginWatch(request_id, watch_id, message.request, message.after, message.timeout_ms)
        )

    def _end(self, watch_id: int) -> None:
        self._ending[watch_id] = None
        if self._deliver(EndWatch(watch_id)) and watch_id not in self._requests.values():
            self._ending.pop(watch_id, None)

    def _forget(self, watch_id: int) -> None:
        connection = self._watches.pop(watch_id)
        del self._ids[connection.watcher, connection.number]

    def _send(
        self,
        connection: _Connection,
        content: WatchBegun | WatchNotice | WatchFailed | ProbeAnswer,
    ) -> None:
        connection.sent += 1
        message = FromNode(connection.number, connection.sent, content)
        self._services.network.send(self._links[connection.watcher], message, "")


register_copies(globals())
