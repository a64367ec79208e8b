"""`Observer`: sees what every driver of a cluster does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qcore.core import RaftCore
from qcore.core.effects import Effect, ReadReady, Send
from qcore.core.entry import Entry
from qcore.replica.events import ReplicaEffect, Reply
from tests.driver.disk import Disk


class Node(Protocol):
    """What is common to the drivers of cores and of replicas."""

    @property
    def node_id(self) -> int: ...

    @property
    def disk(self) -> Disk: ...

    @property
    def core(self) -> RaftCore:
        """The core, if the node is up."""
        ...

    @property
    def life(self) -> int:
        """How often the node has started."""
        ...


class Observer:
    """Does nothing. A subclass checks what it sees, and raises if it finds a fault."""

    def before_step(self, node: Node) -> None:
        """The node is about to step."""

    def stepped(self, node: Node, effects: Sequence[Effect | ReplicaEffect]) -> None:
        """The node has stepped, or started, and is about to execute these effects."""

    def executed(self, node: Node, effects: Sequence[Effect | ReplicaEffect]) -> None:
        """The node has executed the effects of a step."""

    def sent(self, node: Node, send: Send) -> None:
        """The message left the node: what it waited for is durable."""

    def applied(self, node: Node, entry: Entry) -> None:
        """The node's state machine has applied the entry."""

    def restored(self, node: Node) -> None:
        """The node's state machine has been restored from a snapshot."""

    def responded(self, node: Node, outcome: ReadReady | Reply) -> None:
        """A request of a client at this node has this outcome."""

    def started(self, node: Node) -> None:
        """The node has started from its disk, and executed the first effects."""

    def crashed(self, node: Node) -> None:
        """The node has lost its memory and what was not durable."""
