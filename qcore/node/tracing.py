"""The trace of a real node: the same records as the simulator writes, with Unix time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from qcore.core.status import CoreStatus
from qcore.node.clock import wall_us
from qcore.node.line_writer import LineWriter
from qcore.replica.events import ReplicaEffect
from qcore.replica.messages import PeerMessage
from qcore.replica.recorder import ReplicaRecorder, describe
from qcore.trace import TextSink, TraceWriter
from qcore.transport.wire import is_peer_response

#: How often the node should call `flush`: what a kill -9 may cost the trace, seconds.
FLUSH_INTERVAL_S: Final = 0.2
#: Bytes of records that wait for a slow file.
_WAITING_BYTES: Final = 8 * 1024 * 1024


def trace_lines(
    file: int, failed: Callable[[OSError], None], limit_bytes: int = _WAITING_BYTES
) -> LineWriter:
    """Writes a trace to an open file in a thread of its own.

    What a file takes too slowly is dropped: a record of kind `fault` says in its place how much.

    Args:
        file: its descriptor.
        failed: called once, in that thread, if the file takes no more: the trace ends there.
        limit_bytes: records that wait.
    """
    return LineWriter(file, limit_bytes, _missing, failed)


def _missing(number: int) -> str:
    writer = TraceWriter(keep=True)
    note = f"{number} records are missing here: the file took them too slowly"
    writer.fault(wall_us(), "act", "trace", note=note)
    return writer.lines()[0]


class NodeTrace:
    """Writes what one node does to a file.

    Args:
        stream: takes the lines, and never waits: see `trace_lines`.
        node_id: this node.
    """

    def __init__(self, stream: TextSink, node_id: int) -> None:
        self._writer = TraceWriter(stream)
        self._recorder = ReplicaRecorder(self._writer, node_id)
        self._node_id = node_id

    def started(self, status: CoreStatus) -> None:
        """The header, and that this server came up."""
        now = wall_us()
        self._writer.run(now, f"node {self._node_id}", 0, [self._node_id])
        self._writer.up(now, self._node_id, status.term, status.commit, status.last_log_index)

    def stopped(self, why: str) -> None:
        """This server stops."""
        self._writer.down(wall_us(), self._node_id, why)
        self._writer.flush()

    def effects(self, effects: Iterable[ReplicaEffect]) -> None:
        """What one step of the replica gave."""
        self._recorder.effects(wall_us(), effects)

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        """A message left."""
        name, term, note = describe(message)
        requester = to if is_peer_response(message) else self._node_id
        trace_id = _trace_id(requester, message_id, message)
        self._writer.send(wall_us(), self._node_id, to, trace_id, name, term, note)

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        """A message arrived."""
        name, _, _ = describe(message)
        requester = self._node_id if is_peer_response(message) else from_id
        trace_id = _trace_id(requester, message_id, message)
        self._writer.recv(wall_us(), self._node_id, from_id, trace_id, name)

    def dropped(self, to: int, message: PeerMessage) -> None:
        """A message could not leave."""
        name, _, _ = describe(message)
        self._writer.drop(wall_us(), to, self._node_id, "", name, "no connection or a full queue")

    def flush(self) -> None:
        """Write what is pending to the file."""
        self._writer.flush()


def _trace_id(requester: int, message_id: str, message: PeerMessage) -> str:
    """Unique in the cluster; harmless inside a JSON text, whatever id a peer chose."""
    plain = "".join(c for c in message_id[:64] if c.isalnum() or c in "-_.:")
    return f"{requester}-{plain}{'r' if is_peer_response(message) else ''}"
