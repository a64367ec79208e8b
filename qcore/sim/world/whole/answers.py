"""What the checkers know about the answers of whole nodes, beside what the wire carries: index, term, node and time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qcore.replica.events import ClientRequest, Reply
from qcore.sim.verdict.snapshot_histories import SnapshotHistories
from qcore.sim.world.programs.frames import Service


class Answers:
    """The answers on their way to clients, by the client's end of the connection and the id of the message.

    Args:
        histories: the entries that were applied.
        now: the simulated time.
    """

    def __init__(self, histories: SnapshotHistories, now: Callable[[], int]) -> None:
        self._histories = histories
        self._now = now
        self._answers: dict[tuple[str, str], Service] = {}
        self._sent: dict[tuple[int, str], deque[tuple[int, int]]] = {}

    def add(
        self, node: int, remote: str, message_id: str, request: ClientRequest | None, reply: Reply
    ) -> None:
        """A node gives this answer now.

        Args:
            node: the node.
            remote: the client's end of the connection, as the node sees it.
            message_id: the id of the client's message.
            request: the request; None if it is not known.
            reply: the outcome.
        """
        kind, payload = (None, "") if request is None else (request.kind, request.payload)
        term = self.term_of(request, reply)
        self._answers[remote, message_id] = Service(
            node, self._now(), reply.index, term, kind, payload
        )

    def term_of(self, request: ClientRequest | None, reply: Reply) -> int:
        """The term of the entry of a request; 0 if it is not known."""
        return self._histories.term_of(reply.index, "" if request is None else request.payload)

    def take(self, local: str, message_id: str) -> Service | None:
        """The answer to this message, which has just arrived.

        Args:
            local: the client's end of the connection.
            message_id: the id of the message.
        """
        return self._answers.pop((local, message_id), None)

    def sent(self, node: int, payload: str, client: int, op_id: int) -> None:
        """A client of a workload sends this operation to a node. For the details of the trace."""
        self._sent.setdefault((node, payload), deque()).append((client, op_id))

    def ended(self, node: int, payload: str, client: int, op_id: int) -> None:
        """The client has an outcome of this attempt."""
        waiting = self._sent[node, payload]
        waiting.remove((client, op_id))
        if not waiting:
            del self._sent[node, payload]

    def operation_of(self, node: int, payload: str) -> tuple[int, int]:
        """Client and number of the operation with which this request came to a node; 0 if it is not known.

        Of operations with equal requests each is the one in turn.
        """
        waiting = self._sent.get((node, payload))
        if waiting is None:
            return 0, 0
        waiting.rotate(-1)
        return waiting[-1]
