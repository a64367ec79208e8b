"""What waits for the next steps of the replica, bounded: floods are made of requests, and may not delay the rest."""

from __future__ import annotations

from collections import deque
from typing import Final

from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.core.text_size import utf8_length
from qcore.replica.events import ClientRequest, PeerMessageReceived, ReplicaEvent
from qcore.replica.messages import Forward, ForwardResponse, PeerMessage, ReadIndex
from qcore.replica.requests.flow_control import FlowControl

#: Requests, and other events, that one step takes at most.
_MAX_STEP_REQUESTS: Final = 256
_MAX_STEP_EVENTS: Final = 64

#: Raft messages that wait, by number and by bytes; beyond either they are lost, as any message may be.
MAX_MESSAGES: Final = 4096
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


class Inbox:
    """Events in two queues: requests, and everything else, which is what the cluster itself needs.

    Order is kept within each. The node's own events and its clients' requests are always taken: the latter are
    counted where they enter (`qcore.node.api.client_requests`).

    Args:
        forwards: how many requests of peers may wait.
    """

    def __init__(self, forwards: FlowControl) -> None:
        self._forwards = forwards
        self._requests: deque[tuple[ReplicaEvent, int]] = deque()
        self._events: deque[tuple[ReplicaEvent, int]] = deque()
        self._messages = 0
        self._message_bytes = 0

    def __len__(self) -> int:
        """Events that wait."""
        return len(self._requests) + len(self._events)

    def offer(self, event: ReplicaEvent, now: int) -> bool:
        """Queue an event; False if it is a Raft message and is lost because too many wait.

        Raises:
            Overloaded: a peer's request, and too many wait: tell it.
        """
        if isinstance(event, ClientRequest):
            self._requests.append((event, 0))
            return True
        if not isinstance(event, PeerMessageReceived):
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
            if isinstance(event, PeerMessageReceived):
                self._messages -= 1
                self._message_bytes -= size
            taken.append(event)
        for _ in range(min(len(self._requests), _MAX_STEP_REQUESTS)):
            event, size = self._requests.popleft()
            if isinstance(event, PeerMessageReceived):
                self._forwards.release(size, now)
            taken.append(event)
        return taken


def _size(message: PeerMessage) -> int:
    """About how many bytes of payload it holds."""
    if isinstance(message, AppendEntries):
        return sum(entry.size_bytes() for entry in message.entries)
    if isinstance(message, InstallSnapshot):
        return utf8_length(message.data)
    if isinstance(message, ForwardResponse):
        return utf8_length(message.result or "")
    return utf8_length(message.payload) if isinstance(message, Forward) else 0
