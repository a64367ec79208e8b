"""`with_trace`: one `NodeRecorder` for a trace file and for another recorder."""

from __future__ import annotations

from collections.abc import Sequence

from qcore.core.status import CoreStatus
from qcore.node.observability.node_recorder import NodeRecorder
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply
from qcore.replica.messages import PeerMessage


def with_trace(observer: NodeRecorder | None, trace: NodeRecorder) -> NodeRecorder:
    """What passes everything to both, or only to the trace."""
    return trace if observer is None else _BothRecorders(observer, trace)


class _BothRecorders:
    """See `NodeRecorder`. The id of a message is that of the first recorder."""

    def __init__(self, first: NodeRecorder, second: NodeRecorder) -> None:
        self._first = first
        self._both = first, second

    def started(self, status: CoreStatus) -> None:
        for each in self._both:
            each.started(status)

    def stopped(self, why: str) -> None:
        for each in self._both:
            each.stopped(why)

    def step(self, events: int, effects: Sequence[ReplicaEffect]) -> None:
        for each in self._both:
            each.step(events, effects)

    def durable(self, write_id: int) -> None:
        for each in self._both:
            each.durable(write_id)

    def request_began(self, event: ClientRequest, message_id: str) -> None:
        for each in self._both:
            each.request_began(event, message_id)

    def request_ended(self, reply: Reply) -> None:
        for each in self._both:
            each.request_ended(reply)

    def answered(self, remote: str, message_id: str, reply: Reply) -> None:
        for each in self._both:
            each.answered(remote, message_id, reply)

    def outgoing_id(self, message_id: str, message: PeerMessage) -> str:
        return self._first.outgoing_id(message_id, message)

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        for each in self._both:
            each.sent(to, message_id, message)

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        for each in self._both:
            each.received(from_id, message_id, message)

    def dropped(self, to: int, message: PeerMessage) -> None:
        for each in self._both:
            each.dropped(to, message)

    def flush(self) -> None:
        for each in self._both:
            each.flush()
