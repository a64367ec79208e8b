"""`NodeRecorder`: sees what a node does, step by step: the effects of its replica, its messages and its requests.

`qcore.node.observability.tracing.NodeTrace` writes it to a file. The simulator checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qcore.core.status import CoreStatus
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply
from qcore.replica.messages import PeerMessage


class NodeRecorder(Protocol):
    """Its methods are called on the event loop, and must be quick."""

    def started(self, status: CoreStatus) -> None:
        """The node begins to take steps."""
        ...

    def stopped(self, why: str) -> None:
        """The node has stopped."""
        ...

    def step(self, events: int, effects: Sequence[ReplicaEffect]) -> None:
        """The replica made a step; called before its effects are executed.

        Args:
            events: how many events the replica processed in it.
            effects: its effects.
        """
        ...

    def durable(self, write_id: int) -> None:
        """All writes up to this one are durable; called before anything follows from it."""
        ...

    def request_began(self, event: ClientRequest, message_id: str) -> None:
        """A client's request goes to the replica.

        Args:
            event: the request.
            message_id: the id that the client gave its message; empty for a request of the node itself.
        """
        ...

    def request_ended(self, reply: Reply) -> None:
        """The replica has the outcome of a request."""
        ...

    def answered(self, remote: str, message_id: str, reply: Reply) -> None:
        """A client gets this outcome of its request now.

        Args:
            remote: the client's end of the connection.
            message_id: the id that the client gave its message.
            reply: the outcome.
        """
        ...

    def outgoing_id(self, message_id: str, message: PeerMessage) -> str:
        """The id with which a request to a peer is sent; usually the one that was chosen."""
        ...

    def sent(self, to: int, message_id: str, message: PeerMessage) -> None:
        """A message to a peer was given to its connection."""
        ...

    def received(self, from_id: int, message_id: str, message: PeerMessage) -> None:
        """A message of a peer arrived."""
        ...

    def dropped(self, to: int, message: PeerMessage) -> None:
        """A message to a peer could not be sent."""
        ...

    def flush(self) -> None:
        """Called at intervals: write what waits."""
        ...
