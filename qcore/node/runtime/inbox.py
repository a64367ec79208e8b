"""`Inbox`: the bounded queues of events that wait for the next steps of the replica. Requests delay no other events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.core.text_size import utf8_length
from qcore.errors import Overloaded, QuotaExceeded
from qcore.replica.events import ClientRequest, ReplicaEvent
from qcore.replica.messages import (
    Forward,
    ForwardResponse,
    ReadIndex,
    RequestKind,
)
from qcore.replica.requests.flow_control import FlowControl

#: The most requests, and the most other events, in one step. Responses to forwarded requests count as requests.
_MAX_STEP_REQUESTS: Final = 256
_MAX_STEP_EVENTS: Final = 64

#: The most Raft messages that wait, by number and by bytes. Beyond either a message is lost, as any message may be.
MAX_MESSAGES: Final = 4096
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


def _snapshot_size(message: InstallSnapshot) -> int:
    return utf8_length(message.data)


def _response_size(message: ForwardResponse) -> int:
    return utf8_length(message.result or "")


#: The approximate size of the large messages other than `AppendEntries`, bytes; that of all others counts as 0.
_SIZE_OF: Final[dict[type, Callable[[Any], int]]] = {
    InstallSnapshot: _snapshot_size,
    ForwardResponse: _response_size,
}


class Inbox:
    """Events in two queues: requests, and all other events, which the cluster itself needs.

    Each queue keeps its order. Events of the node itself and requests of its clients are always accepted, because
    `qcore.node.api.client_requests` has bounded the latter already.

    Args:
        forwards: bounds the waiting requests of peers.
        wake: called when the first event waits, and by `take` if events remain. `take` must follow soon.
        now_us: the clock of the replica, µs.

    Attributes:
        waiting: whether events wait for `take`.
        may_wait: whether a peer's message may wait for the next event.
        write_quota: returns the error for a write of a peer's client that a quota of this node forbids.
    """

    def __init__(
        self, forwards: FlowControl, wake: Callable[[], object], now_us: Callable[[], int]
    ) -> None:
        self._forwards = forwards
        self._now_us = now_us
        self._wake = wake
        self.waiting = False
        #: Each event with the size of its message, bytes; -1 if it is not from a peer.
        self._requests: deque[tuple[ReplicaEvent, int]] = deque()
        self._events: deque[tuple[ReplicaEvent, int]] = deque()
        self.may_wait: Callable[[MessageReceived], bool] = lambda event: False
        self.write_quota: Callable[[RequestKind, str], QuotaExceeded | None] = lambda *_: None
        self._messages = 0
        self._message_bytes = 0

    def __len__(self) -> int:
        """The number of events that wait."""
        return len(self._requests) + len(self._events)

    def add_event(self, event: ReplicaEvent) -> None:
        """Queue an event of the node itself, which is neither a request nor a peer's message."""
        self._events.append((event, -1))
        if not self.waiting:
            self.waiting = True
            self._wake()

    def add_request(self, request: ClientRequest) -> None:
        """Queue a request of a client of this node."""
        self._requests.append((request, -1))
        if not self.waiting:
            self.waiting = True
            self._wake()

    def offer_message(self, event: MessageReceived) -> bool:
        """Queue a peer's message; returns False if it is lost because too many wait."""
        message = event.message
        if isinstance(message, AppendEntries):
            size = 0
            for entry in message.entries:
                size += entry.size_bytes()
        else:
            size_of = _SIZE_OF.get(type(message))
            size = 0 if size_of is None else size_of(message)
        if self._messages and (
            self._messages >= MAX_MESSAGES or self._message_bytes + size > MAX_MESSAGE_BYTES
        ):
            return False
        self._messages += 1
        self._message_bytes += size
        self._events.append((event, size))
        if not self.waiting and not self.may_wait(event):
            self.waiting = True
            self._wake()
        return True

    def offer_request(
        self, from_id: int, request: Forward | ReadIndex
    ) -> Overloaded | QuotaExceeded | None:
        """Queue a peer's request; returns the rejection to send if too many wait, or a quota is used up."""
        if isinstance(request, Forward):
            exceeded = self.write_quota(request.kind, request.payload)
            if exceeded is not None:
                return exceeded
        size = utf8_length(request.payload) if isinstance(request, Forward) else 0
        rejection = self._forwards.rejection(size, self._now_us())
        if rejection is not None:
            return rejection
        self._forwards.take(size)
        self._requests.append((MessageReceived(from_id, request), size))
        if not self.waiting:
            self.waiting = True
            self._wake()
        return None

    def take(self, now: int) -> list[ReplicaEvent]:
        """The events of one step, the oldest of each kind."""
        taken: list[ReplicaEvent] = []
        events, requests = self._events, self._requests
        number = len(events)
        for _ in range(number if number <= _MAX_STEP_EVENTS else self._events_of_step()):
            event, size = events.popleft()
            if size >= 0:
                self._messages -= 1
                self._message_bytes -= size
            taken.append(event)
        for _ in range(min(len(requests), _MAX_STEP_REQUESTS)):
            event, size = requests.popleft()
            if size >= 0:
                self._forwards.release(size, now)
            taken.append(event)
        self.waiting = bool(events or requests)
        if self.waiting:
            self._wake()
        return taken

    def _events_of_step(self) -> int:
        """How many of many events one step takes. A response to a forwarded request is as little work as a request."""
        number = others = 0
        for event, _ in islice(self._events, _MAX_STEP_REQUESTS):
            if type(event) is not MessageReceived or type(event.message) is not ForwardResponse:
                others += 1
                if others > _MAX_STEP_EVENTS:
                    break
            number += 1
        return number
