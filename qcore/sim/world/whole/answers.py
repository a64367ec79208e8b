"""What the checkers know about the answers of whole nodes, beside what the wire carries: index, term, node and time."""

from __future__ import annotations

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
        term = self._histories.term_of(reply.index, payload)
        self._answers[remote, message_id] = Service(
            node, self._now(), reply.index, term, kind, payload
        )

    def take(self, local: str, message_id: str) -> Service | None:
        """The answer to this message, which has just arrived.

        Args:
            local: the client's end of the connection.
            message_id: the id of the message.
        """
        return self._answers.pop((local, message_id), None)
