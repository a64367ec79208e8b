"""`NodeTrace`: writes the trace of a real node. Its records are those of the simulator, with Unix time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from qcore.core.status import CoreStatus
from qcore.errors import OutcomeUnknown, ResultInvalid, ResultTooLarge
from qcore.node.observability.line_writer import LineWriter
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply
from qcore.replica.messages import PeerMessage
from qcore.replica.request_details import RequestDetails
from qcore.replica.trace_recorder import ReplicaTracer, trace_fields
from qcore.runtime.clock import wall_us
from qcore.trace import RECORDS_MISSING_FAULT, TextSink, TraceWriter
from qcore.transport.wire import RESPONSE_MESSAGES

#: How often the node calls `flush`, seconds. A kill -9 loses at most the records of this time.
FLUSH_INTERVAL_S: Final = 0.2
#: The most bytes of records that wait for a slow file.
_MAX_QUEUED_BYTES: Final = 8 * 1024 * 1024


def trace_lines(
    file: int,
    failed: Callable[[OSError], None],
    limit_bytes: int = _MAX_QUEUED_BYTES,
    *,
    nodes: Sequence[int] = (),
    is_torn: bool = False,
) -> LineWriter:
    """A writer of trace lines to an open file, in a separate thread.

    If the file is too slow, records are dropped, and one record of kind `fault` gives their number.

    Args:
        file: its descriptor.
        failed: called once, in the thread, if writing fails: the trace ends there.
        limit_bytes: the most bytes of records that wait.
        nodes: the nodes whose trace it is.
        is_torn: whether the file ends within a line.
    """
    return LineWriter(file, limit_bytes, partial(_missing, nodes), failed, is_torn=is_torn)


def _missing(nodes: Sequence[int], number: int) -> str:
    writer = TraceWriter(keep=True)
    note = f"{number} records are missing here: the file took them too slowly"
    writer.fault(wall_us(), "act", RECORDS_MISSING_FAULT, nodes, note=note)
    return writer.lines()[0]


def first_trace_line(node_id: int) -> bytes:
    """The line with which a trace file of this node begins."""
    writer = TraceWriter(keep=True)
    writer.run(wall_us(), f"node {node_id}", 0, [node_id])
    return (writer.lines()[0] + "\n").encode()


class NodeTrace:
    """The `NodeRecorder` that writes the trace of one node.

    Args:
        stream: gets the lines, and never blocks; see `trace_lines`.
        node_id: this node.
        wall_us: microseconds since the Unix epoch.
    """

    def __init__(self, stream: TextSink, node_id: int, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._writer = TraceWriter(stream, hashed=False)
        self._recorder = ReplicaTracer(self._writer, node_id)
        self._request_details = RequestDetails(self._writer, node_id)
        self._node_id = node_id
        self._operation_base = (
            self._wall_us()
        )  # random, because other processes of this node must not use the same numbers
        self._operations: dict[int, str] = {}  # request id -> write or read

    def started(self, status: CoreStatus) -> None:
        """Write the header, and the record that this node is up."""
        now = self._wall_us()
        self._writer.run(now, f"node {self._node_id}", 0, [self._node_id])
        self._writer.up(now, self._node_id, status.term, status.commit_index, status.last_log_index)

    def stopped(self, why: str) -> None:
        """Write the record that this node is down."""
        self._writer.down(self._wall_us(), self._node_id, why)
        self._writer.flush()

    def step(self, events: int, effects: Sequence[ReplicaEffect]) -> None:
        """Write records for the effects of one step of the replica."""
        self._recorder.effects(self._wall_us(), effects)

    def durable(self, write_id: int) -> None:
        """Write a detail if entries of the log became durable."""
        self._recorder.durable(self._wall_us(), write_id)

    def request_began(self, event: ClientRequest, message_id: str) -> None:
        """Write the begin of a client's request, with the length of its content.

        The record names this node as the client. The node knows clients only by their connections, which are not in the
        trace.
        """
        op = "write" if event.kind in ("write", "session") else "read"
        self._operations[event.request_id] = op
        note = f"{event.kind}, {len(event.payload)} characters"
        self._op(event.request_id, "invoke", op, note)
        number = self._operation_base + event.request_id
        self._request_details.took(self._wall_us(), event, self._node_id, number)

    def request_ended(self, reply: Reply) -> None:
        """Write the end of a request. If its error leaves open whether it took effect, the outcome is unknown."""
        op = self._operations.pop(reply.request_id, None)
        if op is None:
            return  # not a client's request
        error = reply.error
        if error is None:
            phase = "ok"
        elif isinstance(error, ResultInvalid | ResultTooLarge) and op == "write":
            phase = "ok"  # it took effect, but its result cannot be returned
        else:
            phase = "unknown" if isinstance(error, OutcomeUnknown) else "refused"
        self._request_details.ended(self._wall_us(), reply)
        self._op(reply.request_id, phase, op, "" if error is None else error.code)

    def answered(self, remote: str, message_id: str, reply: Reply) -> None:
        """Write nothing: `request_ended` has done it."""

    def _op(self, request_id: int, phase: str, op: str, note: str) -> None:
        node, number = self._node_id, self._operation_base + request_id
        self._writer.op(self._wall_us(), node, phase, node, number, op, "", None, note)

    def outgoing_id(self, message_id: str, message: PeerMessage) -> str:
        """Return the id that was chosen."""
        return message_id

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        """Write that a message was sent."""
        name, term, note = trace_fields(message)
        requester = to if type(message) in RESPONSE_MESSAGES else self._node_id
        trace_id = _trace_id(requester, message_id, message)
        now = self._wall_us()
        self._writer.send(now, self._node_id, to, trace_id, name, term, note)
        self._request_details.sent(now, message, trace_id)

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        """Write that a message was received."""
        name, _, _ = trace_fields(message)
        requester = self._node_id if type(message) in RESPONSE_MESSAGES else from_id
        trace_id = _trace_id(requester, message_id, message)
        self._writer.recv(self._wall_us(), self._node_id, from_id, trace_id, name)

    def dropped(self, to: int, message: PeerMessage) -> None:
        """Write that a message could not be sent."""
        name, _, _ = trace_fields(message)
        self._writer.drop(
            self._wall_us(), to, self._node_id, "", name, "no connection or a full queue"
        )

    def flush(self) -> None:
        """Write pending records to the file."""
        self._writer.flush()


def _trace_id(requester: int, message_id: str, message: PeerMessage) -> str:
    """The id of a request in the whole cluster, or of its response; safe inside JSON, whatever a peer has chosen.

    Responses may share an id, because each has that of the newest request.
    """
    plain = "".join(c for c in message_id[:64] if c.isalnum() or c in "-_.:")
    return f"{requester}-{plain}{'r' if type(message) in RESPONSE_MESSAGES else ''}"
