"""`Inbox`: the bounded queues of events that wait for the next steps of the replica. Requests delay no other events."""

from __future__ import annotations

from collections import deque
from typing import Final

from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.core.text_size import utf8_length
from qcore.replica.events import ClientRequest, ReplicaEvent
from qcore.replica.messages import Forward, ForwardResponse, PeerMessage, ReadIndex
from qcore.replica.requests.flow_control import FlowControl

#: The most requests, and the most other events, in one step.
_MAX_STEP_REQUESTS: Final = 256
_MAX_STEP_EVENTS: Final = 64

#: The most Raft messages that wait, by number and by bytes. Beyond either a message is lost, as any message may be.
MAX_MESSAGES: Final = 4096
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


class Inbox:
    """Events in two queues: requests, and all other events, which the cluster itself needs.

    Each queue keeps its order. Events of the node itself and requests of its clients are always accepted, because
    `qcore.node.api.client_requests` has bounded the latter already.

    Args:
        forwards: bounds the waiting requests of peers.
    """

    def __init__(self, forwards: FlowControl) -> None:
        self._forwards = forwards
        self._requests: deque[tuple[ReplicaEvent, int]] = deque()
        self._events: deque[tuple[ReplicaEvent, int]] = deque()
        self._messages = 0
        self._message_bytes = 0

    def __len__(self) -> int:
        """The number of events that wait."""
        return len(self._requests) + len(self._events)

    def offer(self, event: ReplicaEvent, now: int) -> bool:
        """Queue an event; returns False if it is a Raft message, which is lost because too many wait.

        Raises:
            Overloaded: the event is a peer's request, and too many wait. The caller must send a rejection.
        """
        if isinstance(event, ClientRequest):
            self._requests.append((event, 0))
            return True
        if not isinstance(event, MessageReceived):
            self._events.append((event, 0))
            return True
        message = event.message
        size = _size(message)
        if isinstance(message, Forward | ReadIndex):
            rejection = self._forwards.rejection(size, now)
            if rejection is not None:
                raise rejection
            self._forwards.take(size)
            self._requests.append((event, size))
            return True
        if self._messages and (
            self._messages >= MAX_MESSAGES or self._message_bytes + size > MAX_MESSAGE_BYTES
        ):
            return False
        self._messages += 1
        self._message_bytes += size
        self._events.append((event, size))
        return True

    def take(self, now: int) -> list[ReplicaEvent]:
        """The events of one step, the oldest of each kind."""
        taken: list[ReplicaEvent] = []
        for _ in range(min(len(self._events), _MAX_STEP_EVENTS)):
            event, size = self._events.popleft()
            if isinstance(event, MessageReceived):
                self._messages -= 1
                self._message_bytes -= size
            taken.append(event)
        for _ in range(min(len(self._requests), _MAX_STEP_REQUESTS)):
            event, size = self._requests.popleft()
            if isinstance(event, MessageReceived):
                self._forwards.release(size, now)
            taken.append(event)
        return taken


def _size(message: PeerMessage) -> int:
    """The approximate size of the message's payload, bytes."""
    if isinstance(message, AppendEntries):
        return sum(entry.size_bytes() for entry in message.entries)
    if isinstance(message, InstallSnapshot):
        return utf8_length(message.data)
    if isinstance(message, ForwardResponse):
        return utf8_length(message.result or "")
    return utf8_length(message.payload) if isinstance(message, Forward) else 0
